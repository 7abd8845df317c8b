"""Bodies that are too large, at the ASGI handler: drained so that the client reads the answer, and only so far."""

from __future__ import annotations

from typing import Any

import pytest

from taskhub.web import asgi_handler
from taskhub.web.asgi_handler import DRAIN, HubHandler

LIMIT = 1000


class Client:
    """Sends pieces of 100 bytes for as long as it is read."""

    def __init__(self, pieces: int) -> None:
        self.left = pieces
        self.read = 0
        self.sent: list[Any] = []

    async def receive(self) -> dict[str, Any]:
        assert self.left, "it is read past its end"
        self.left -= 1
        self.read += 1
        return {"type": "http.request", "body": b"x" * 100, "more_body": self.left > 0}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def post(self) -> int:
        scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/api/tasks/", "query_string": b""}
        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        handler = HubHandler()
        await handler({**scope, "client": ("127.0.0.1", 1), "headers": headers}, self.receive, self.send)
        return int(self.sent[0]["status"])


@pytest.fixture(autouse=True)
def small_limit(settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = LIMIT


async def test_a_body_that_is_too_large_is_read_to_its_end_before_it_is_refused() -> None:
    client = Client(60)
    assert await client.post() == 413
    assert client.left == 0
    assert b"body_too_large" in client.sent[1]["body"]
    assert (b"Connection", b"close") in client.sent[0]["headers"]


async def test_one_that_does_not_end_is_read_eight_times_the_limit_and_no_further() -> None:
    client = Client(100_000)
    assert await client.post() == 413
    assert DRAIN == 8
    assert client.read == DRAIN * LIMIT // 100 + 1


async def test_a_client_that_leaves_meanwhile_gets_no_answer() -> None:
    client = Client(100_000)
    receive = client.receive

    async def leaves() -> dict[str, Any]:
        return await receive() if client.read < 20 else {"type": "http.disconnect"}

    client.receive = leaves  # type: ignore[method-assign]
    handler = asgi_handler.HubHandler()
    scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/", "query_string": b"", "headers": []}
    await handler({**scope, "client": ("127.0.0.1", 1)}, client.receive, client.send)
    assert (client.sent, client.read) == ([], 20)
