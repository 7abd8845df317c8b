"""Daytona, played: the control API of the local sandbox server, with the close of a network, which that refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final

import httpx

DROPPED: Final = "dropped"
"""The network is closed, and the connection breaks before the answer."""
Answer = tuple[int, dict[str, Any]] | str
CLOSED: Final[Answer] = (200, {"networkBlockAll": True})


class ClosingDaytona:
    """`answers` are those of the next requests to close a network; the last one stays.

    `asked` has what was asked: the body, and what the sandbox's commands had written by then.
    """

    def __init__(self, server: str) -> None:
        """`server`: the address of a local sandbox server, without a path."""
        self.answers: list[Answer] = [CLOSED]
        self.asked: list[tuple[Any, str]] = []
        self.created: list[dict[str, Any]] = []
        self.address = ""
        self._server = server
        self._client = httpx.Client(timeout=60, trust_env=False)

    @contextmanager
    def serving(self) -> Iterator[ClosingDaytona]:
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                front.answer(self, self.rfile.read(int(self.headers.get("Content-Length") or 0)))

            do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - the library's names

            def log_message(self, *_: Any) -> None:
                """Nothing: it would be on the tests' terminal."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
            self.address = f"http://127.0.0.1:{http.server_port}/api"
            thread = Thread(target=http.serve_forever)
            thread.start()
            try:
                yield self
            finally:
                http.shutdown()
                thread.join()
                self._client.close()

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type") if name in request.headers}
        headers |= {name: value for name, value in request.headers.items() if name.startswith("X-Daytona")}
        if request.path.endswith("/network-settings"):
            sandbox_id = request.path.split("/")[-2]
            self.asked.append((json.loads(body), self._written(sandbox_id, headers)))
            played = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if isinstance(played, str):
                request.close_connection = True
                return
            status, said = played
            if status < 300:  # the sandbox, as it is now
                said = self._client.get(f"{self._server}/api/sandbox/{sandbox_id}", headers=headers).json() | said
            self._send(request, status, json.dumps(said).encode())
            return
        if (request.command, request.path) == ("POST", "/api/sandbox"):
            self.created.append(json.loads(body))
        passed = self._client.request(
            request.command, f"{self._server}{request.path}", headers=headers, content=body or None
        )
        self._send(request, passed.status_code, passed.content)

    def _written(self, sandbox_id: str, headers: dict[str, str]) -> str:
        address = f"{self._server}/toolbox/{sandbox_id}/process/session"
        texts = [
            self._client.get(f"{address}/{session['sessionId']}/command/{command['id']}/logs", headers=headers).text
            for session in self._client.get(address, headers=headers).json()
            for command in session["commands"]
        ]
        return "\n".join(texts)

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, status: int, content: bytes) -> None:
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)
