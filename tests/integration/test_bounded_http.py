"""Headers of `make run`'s web process: bounded in size and time, under a real uvicorn."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from taskhub.web import bounded_http

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n"


async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(bounded_http, "HEADER_S", 0.5)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # clients may come before the server is there
        config = uvicorn.Config(answer, http=bounded_http.BoundedHttp, lifespan="off", log_level="critical")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(10)


def exchange(port: int, *pieces: bytes) -> bytes:
    """What came back until the server closed the connection."""
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        heard = b""
        for piece in pieces:
            connection.sendall(piece)
        while data := connection.recv(65536):
            heard += data
    return heard


def test_a_connection_that_sends_nothing_is_closed(port: int) -> None:
    assert exchange(port) == b""


def test_half_a_header_is_408(port: int) -> None:
    assert exchange(port, REQUEST).startswith(b"HTTP/1.1 408 ")


def test_half_a_header_after_a_request_is_408(port: int) -> None:
    heard = exchange(port, REQUEST + b"\r\n" + REQUEST)
    assert heard.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in heard


def test_line_ends_hold_no_connection(port: int) -> None:
    assert exchange(port, b"\r\n\r\n") == b""


def test_a_header_without_end_is_431(port: int) -> None:
    many = b"".join(b"X-%d: %s\r\n" % (n, b"x" * 1000) for n in range(100))
    assert exchange(port, REQUEST + many).startswith(b"HTTP/1.1 431 ")


def test_a_whole_request_is_answered_and_a_slow_body_is_waited_for(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\nab")
        connection.settimeout(1.0)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(20)
        connection.sendall(b"cd")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
