"""A receiver of webhooks: a real HTTP server in the test's own process, that answers as the test wants."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Received(NamedTuple):
    path: str
    headers: dict[str, str]
    body: str

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


class Handler(BaseHTTPRequestHandler):
    """`respond` for most responses; write other kinds to `wfile`."""

    protocol_version = "HTTP/1.1"  # a connection may be used again

    def do_POST(self) -> None:
        receiver: Receiver = self.server.receiver  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        with receiver.changed:
            receiver.requests.append(Received(self.path, headers, body))
            receiver.changed.notify_all()
        receiver.answer(self)

    def respond(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content_length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Not to the test's output."""


class Receiver:
    def __init__(self, server: ThreadingHTTPServer, scheme: str) -> None:
        self.requests: list[Received] = []
        self.changed = threading.Condition()
        self.answer: Callable[[Handler], None] = lambda handler: handler.respond(200, b"thanks")
        self.port = int(server.server_address[1])
        self.url = f"{scheme}://127.0.0.1:{self.port}/hook?key=of-the-receiver"

    def wait_for(self, count: int, within_s: float = 90.0) -> list[Received]:
        """The requests, once there are so many."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.requests) >= count, within_s), self.requests
            return list(self.requests)

    def answers(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.answer = lambda handler: handler.respond(status, body, **headers)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A sender that hangs up is a part of some tests."""


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    server = _Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver = server.receiver = Receiver(server, "http" if tls is None else "https")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
