"""Handlers that are awaited on the loop: errors, the request's context, clients that go away."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import pytest
from django.http import HttpRequest
from django.test import RequestFactory
from rest_framework.response import Response

from taskhub.api.awaited import AwaitedResponse
from taskhub.errors import NotFound
from taskhub.models import MetricName
from taskhub.observability.metrics_store import meter
from taskhub.web import thread_pool
from taskhub.web.awaited_response import Work


class Client:
    """Receives until it goes away."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.sent: list[Mapping[str, Any]] = []

    async def receive(self) -> Mapping[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Mapping[str, Any]) -> None:
        self.sent.append(message)

    def answer(self) -> tuple[int, dict[bytes, bytes], Any]:
        start, body = self.sent
        return start["status"], dict(start["headers"]), json.loads(body["body"]) if body["body"] else None


def request(method: str = "GET") -> HttpRequest:
    return RequestFactory().generic(method, "/api/sandboxes/")


async def answered(work: Work, method: str = "GET") -> Client:
    client = Client()
    await AwaitedResponse(request(method), work).run(client.receive, client.send)
    return client


async def test_a_result_is_rendered_and_sent() -> None:
    async def work() -> Response:
        return Response({"a": 1}, status=202, headers={"ETag": '"1"'})

    status, headers, body = (await answered(work)).answer()
    assert (status, body) == (202, {"a": 1})
    assert (headers[b"etag"], headers[b"content-type"], headers[b"content-length"]) == (
        b'"1"',
        b"application/json",
        b"7",
    )


async def test_an_answer_without_a_body_has_no_type() -> None:
    async def work() -> Response:
        return Response(status=204)

    status, headers, body = (await answered(work, "DELETE")).answer()
    assert (status, body) == (204, None)
    assert not {b"content-type", b"content-length"} & headers.keys()


async def test_an_error_of_ours_has_its_body_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[tuple[MetricName, str]] = []
    monkeypatch.setattr(meter, "add", lambda name, _, label="": counted.append((name, label)))

    async def work() -> Response:
        raise NotFound("Sandbox not found.", code="sandbox_not_found")

    status, _, body = (await answered(work)).answer()
    assert (status, body["error"]["code"]) == (404, "sandbox_not_found")
    assert counted == [(MetricName.REQUEST_MS, "GET 404")]


@pytest.mark.parametrize("where", ["in the handler", "while it is rendered"])
async def test_an_unexpected_error_is_logged_and_tells_nothing(where: str, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> Response:
        if where == "in the handler":
            raise RuntimeError("/srv/secret")
        return Response({"/srv/secret": object()})

    status, headers, body = (await answered(work)).answer()
    assert (status, body["error"]["code"]) == (500, "internal_error")
    assert headers[b"content-type"] == b"application/json"
    assert "secret" not in str(body)
    (record,) = [record for record in caplog.records if record.name == "django.request"]
    assert record.exc_info is not None


async def test_the_work_has_the_context_of_the_view() -> None:
    """The log context and the trace's span: the thread of the view has them, the loop has not."""
    span: ContextVar[str] = ContextVar("span", default="none")

    async def work() -> Response:
        return Response(span.get())

    def view() -> AwaitedResponse:
        token = span.set("the request's")
        try:
            return AwaitedResponse(request(), work)
        finally:
            span.reset(token)

    client = Client()
    response = await thread_pool.on_web_thread(view)
    assert span.get() == "none"
    await response.run(client.receive, client.send)
    assert client.answer()[2] == "the request's"


@pytest.mark.parametrize(("method", "ends"), [("GET", "cancelled"), ("POST", "done")])
async def test_a_client_that_goes_away_cancels_only_what_reads(method: str, ends: str) -> None:
    asked, answers = asyncio.Event(), asyncio.Event()
    how: list[str] = []

    async def work() -> Response:
        asked.set()
        try:
            await answers.wait()
        except asyncio.CancelledError:
            how.append("cancelled")
            raise
        how.append("done")
        return Response({})

    client = Client()
    running = asyncio.create_task(AwaitedResponse(request(method), work).run(client.receive, client.send))
    await asked.wait()
    client.gone.set()
    if method == "POST":
        for _ in range(20):  # turns of the loop in which a cancellation would arrive
            await asyncio.sleep(0)
        answers.set()
    await running
    assert how == [ends]


async def test_a_server_that_gives_up_leaves_an_effect_to_its_end() -> None:
    """daphne cancels the application some time after its client went away."""
    asked, answers, audited = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> Response:
        asked.set()
        await answers.wait()
        audited.set()
        return Response({})

    client = Client()
    running = asyncio.create_task(AwaitedResponse(request("POST"), work).run(client.receive, client.send))
    await asked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    answers.set()
    await asyncio.wait_for(audited.wait(), 30)


def test_a_thread_that_waits_does_the_database_work_itself() -> None:
    def where() -> str:
        return threading.current_thread().name

    async def work() -> tuple[str, str]:
        return await thread_pool.with_database(where), await thread_pool.with_database_writing(where)

    assert thread_pool.wait_here(work) == ("MainThread", "MainThread")
    names = asyncio.run(work())
    assert all(name.startswith("web") for name in names)
