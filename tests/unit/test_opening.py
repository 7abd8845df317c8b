"""Streams open on the event loop: no thread but for a token, nothing of the request kept, tokens looked up together."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.db import SessionStore
from django.core.handlers.asgi import ASGIRequest
from django.db import DatabaseError, connections
from django.http import HttpResponse
from django.test import RequestFactory
from opentelemetry import context

from taskhub.api import token_lookups
from taskhub.api.token_lookups import TokenLookups
from taskhub.events.open_streams import registry
from taskhub.events.stream import EventStream
from taskhub.models import ApiToken
from taskhub.web import asgi_handler, thread_pool
from taskhub.web.asgi_handler import HubHandler
from taskhub.web.opening import Opening
from tests.conftest import make_account

DB = pytest.mark.django_db(transaction=True)
pytestmark = pytest.mark.sqlite_suffices
STREAM = "/api/events/stream"


class Client:
    """Opens a stream, and goes away when it is told to."""

    def __init__(self, handler: HubHandler, path: str = STREAM, **headers: str) -> None:
        given = {"host": "localhost", **headers}
        self.headers = [(name.encode(), value.encode()) for name, value in given.items()]
        scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": path, "query_string": b""}
        self.sent: list[Any] = []
        self.answered = asyncio.Event()
        self.leaving = asyncio.Event()
        self._asked = False
        whole = {**scope, "client": ("127.0.0.1", 1), "headers": self.headers}
        self.task = asyncio.create_task(handler(whole, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.leaving.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.sent.append(message)
        if message["type"] == "http.response.body":
            self.answered.set()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(60):
            await self.answered.wait()
        start, first = self.sent[:2]
        return (
            start["status"],
            {name.decode().lower(): value.decode() for name, value in start["headers"]},
            first["body"],
        )

    async def leave(self) -> None:
        self.leaving.set()
        await self.task


@asynccontextmanager
async def opened(handler: HubHandler, path: str = STREAM, **headers: str) -> AsyncIterator[Client]:
    client = Client(handler, path, **headers)
    try:
        yield client
    finally:
        await client.leave()


@pytest.fixture
def open_reading(settings: Any) -> None:
    settings.TASKHUB_OPEN_READING = True
    settings.ALLOWED_HOSTS = ["localhost"]


@pytest.fixture
def no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*_: Any) -> None:
        raise AssertionError("it takes a thread")

    for module in (asgi_handler, thread_pool):
        monkeypatch.setattr(module, "on_web_thread", refused)


@DB
@pytest.mark.usefixtures("open_reading", "no_thread")
async def test_a_stream_opens_without_a_thread_and_with_the_headers_of_middleware() -> None:
    async with opened(HubHandler(), **{"x-request-id": "mine"}) as client:
        status, headers, body = await client.answer()
        assert (status, len(registry)) == (200, 1)
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert headers["x-request-id"] == "mine"
        assert headers["access-control-allow-origin"] == "*"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["cache-control"] == "no-cache, no-transform"
        assert body.startswith(b"retry: 2000\nid: tasks:")
        assert b'"connected"' in body
    assert len(registry) == 0


@DB
@pytest.mark.usefixtures("open_reading", "no_thread")
@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        (STREAM, {"last-event-id": "x"}, 400, b"last_event_id_malformed"),
        (STREAM, {"origin": "https://evil.example"}, 403, b"foreign_origin"),
        ("/sse", {}, 400, b"details"),
    ],
)
async def test_a_refusal_has_the_headers_of_middleware_too(
    path: str, headers: dict[str, str], status: int, code: bytes
) -> None:
    async with opened(HubHandler(), path, **headers) as client:
        got, found, body = await client.answer()
    assert got == status
    assert code in body
    assert found["content-length"] == str(len(body))
    assert found["access-control-allow-origin"] == "*"
    assert len(registry) == 0


@DB
@pytest.mark.usefixtures("open_reading")
async def test_an_open_stream_keeps_nothing_of_its_request() -> None:
    handler = HubHandler()
    async with opened(handler, authorization="Bearer wrong") as refused:
        assert (await refused.answer())[0] == 401
    before = requests_and_responses()
    async with opened(handler) as client:
        await client.answer()
        assert not requests_and_responses() - before
        assert client.headers == []  # the server's own list


def requests_and_responses() -> set[int]:
    """Those that are in memory; other tests may have left some."""
    gc.collect()
    return {id(each) for each in gc.get_objects() if type(each) in {ASGIRequest, EventStream, Opening}}


@pytest.fixture
def tokens() -> list[bytes]:
    made = [make_account(f"reader-{uuid4().hex[:8]}", "viewer") for _ in range(3)]
    return [ApiToken.objects.create(user=user, name="t")[1].encode() for user in made]


class Counted:
    """How often the lookups look, and what for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looks: list[set[bytes]] = []
        self._find_all = token_lookups._find_all
        monkeypatch.setattr(token_lookups, "_find_all", self.find_all)

    def find_all(self, wanted: Any) -> Any:
        self.looks.append(set(wanted))
        return self._find_all(wanted)


@DB
async def test_tokens_that_come_together_are_one_look(tokens: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    counted, lookups = Counted(monkeypatch), TokenLookups()
    wanted = [*tokens, b"wrong", b""] * 50
    found = await asyncio.gather(*map(lookups.find, wanted))
    for token, shown in zip(wanted, found, strict=True):
        assert (shown is not None) == (token in tokens)
    assert {shown[0].get_username() for shown in found if shown} == {user.username for user in await accounts(tokens)}
    assert counted.looks == [{*tokens, b"wrong"}]


async def accounts(tokens: list[bytes]) -> list[Any]:
    return await sync_to_async(lambda: [each.user for each in ApiToken.objects.select_related("user")[: len(tokens)]])()


@DB
async def test_who_comes_during_a_look_waits_for_the_next_one(
    tokens: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that was revoked before it was shown opens nothing, though it was right for those before."""
    lookups, going_on = TokenLookups(), asyncio.Event()
    look, begun = token_lookups.with_database, asyncio.Event()

    async def slow(*arguments: Any) -> Any:
        found = await look(*arguments)
        begun.set()
        await going_on.wait()
        return found

    monkeypatch.setattr(token_lookups, "with_database", slow)
    first = asyncio.create_task(lookups.find(tokens[0]))
    await begun.wait()
    await sync_to_async(ApiToken.objects.all().delete)()
    second = asyncio.create_task(lookups.find(tokens[0]))
    await asyncio.sleep(0)
    going_on.set()
    assert (await first) is not None
    assert (await second) is None


@DB
async def test_no_stream_waits_for_the_note_of_a_tokens_use(
    tokens: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups, going_on, noted = TokenLookups(), threading.Event(), threading.Event()
    note = token_lookups.tokens_note_use

    def slow(used: Any) -> None:
        assert going_on.wait(60)
        note(used)
        noted.set()

    monkeypatch.setattr(token_lookups, "tokens_note_use", slow)
    assert await lookups.find(tokens[0])
    assert await lookups.find(tokens[1])
    going_on.set()
    assert await asyncio.to_thread(noted.wait, 60)
    await asyncio.gather(*lookups._notes)
    assert await sync_to_async(ApiToken.objects.filter(last_used_at__isnull=False).count)() == 2


def test_a_view_belongs_to_the_span_of_its_request() -> None:
    """Middleware has ended it by then, and detached it."""
    seen = []

    async def view() -> HttpResponse:
        seen.append(context.get_value("span"))
        return HttpResponse(status=204)

    request = RequestFactory().get(STREAM)
    request.session = SessionStore()
    token = context.attach(context.set_value("span", "of the request"))
    opening = Opening(request, view, content_type="text/plain")
    context.detach(token)
    assert asyncio.run(opening.answer()).status_code == 204
    assert (seen, context.get_value("span")) == (["of the request"], None)


@DB
async def test_a_database_that_is_away_fails_those_who_ask_and_not_the_next(
    tokens: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups = TokenLookups()
    with monkeypatch.context() as broken:
        broken.setattr(token_lookups, "_find", lambda _: (_ for _ in ()).throw(DatabaseError("away")))
        failed = await asyncio.gather(*(lookups.find(token) for token in tokens), return_exceptions=True)
    assert [type(each) for each in failed] == [DatabaseError] * 3
    assert (await lookups.find(tokens[0])) is not None
    await sync_to_async(connections.close_all)()
