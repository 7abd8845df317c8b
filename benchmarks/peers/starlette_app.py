"""The least that sse-starlette needs for a fan-out: one queue per client, events by PUT, nothing stored.

No database, no Redis, no middleware, no authentication: what the library and the server cost by themselves. It runs in
a virtual environment of its own, where neither Django nor TaskHub is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

PAYLOAD = "x" * 500
"""About as long as the envelope of a status update."""


class Hub:
    def __init__(self) -> None:
        self.queues: set[asyncio.Queue[int]] = set()
        self.head = 0


hub = Hub()


async def publish(request: Request) -> PlainTextResponse:
    await request.body()
    hub.head += 1
    for queue in hub.queues:
        queue.put_nowait(hub.head)
    return PlainTextResponse("ok")


async def ready(request: Request) -> PlainTextResponse:  # noqa: ARG001 - the framework's interface
    return PlainTextResponse("ok")


async def events() -> AsyncIterator[ServerSentEvent]:
    queue: asyncio.Queue[int] = asyncio.Queue()
    hub.queues.add(queue)
    try:
        yield ServerSentEvent("", event="stream-open", sep="\n")
        while True:
            number = await queue.get()
            yield ServerSentEvent(PAYLOAD, id=str(number), sep="\n")
    finally:
        hub.queues.discard(queue)


async def stream(request: Request) -> EventSourceResponse:  # noqa: ARG001 - the framework's interface
    return EventSourceResponse(events(), sep="\n")


app = Starlette(routes=[Route("/publish", publish, methods=["PUT"]), Route("/stream", stream), Route("/ready", ready)])
