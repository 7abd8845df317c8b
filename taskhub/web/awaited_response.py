"""A response that waits on the event loop for something else than our database, and holds no thread meanwhile.

A client that goes away cancels a request that only reads. Any other runs to its end: an effect at Daytona must not
lack its audit entry, nor its idempotency key its answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, suppress
from contextvars import copy_context
from http.cookies import SimpleCookie
from typing import Any, Final, NamedTuple

from django.core.handlers.exception import response_for_exception
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.permissions import SAFE_METHODS

from taskhub.lib.cancellation import cancel_all
from taskhub.observability.request_metrics import measure
from taskhub.web.detached_response import DetachedResponse, Receive, Send, raw_headers
from taskhub.web.thread_pool import on_web_thread

Work = Callable[[], Coroutine[Any, Any, HttpResponseBase]]


class Rendered(NamedTuple):
    """`stream` comes before `body`."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    stream: AsyncGenerator[bytes, None] | None = None
    cookies: SimpleCookie | None = None


class AwaitedResponse(DetachedResponse):
    """Sent by the loop when `work` is done."""

    measures_itself = True

    def __init__(self, request: HttpRequest, work: Work, *, content_type: str = "text/html") -> None:
        super().__init__(content_type=content_type)
        self._began = time.perf_counter()
        self._method = str(request.method)
        self._request = request
        self._work = work
        # The caller's, for log lines; and the request's span, which is no longer the current one on the loop.
        self._context = copy_context()

    async def run(self, receive: Receive, send: Send) -> None:
        work = asyncio.get_running_loop().create_task(self._result(), context=self._context)
        gone = asyncio.ensure_future(_until_gone(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if self._method not in SAFE_METHODS:
                await asyncio.wait({work})
            if work.done():
                await self._send(work.result(), send, gone)
        finally:
            await cancel_all(gone, *self._cancellable(work))

    def _cancellable(self, work: asyncio.Task[Rendered]) -> list[asyncio.Task[Any]]:
        """What ends with this response. A server that cancels it leaves an effect under way alone."""
        if work.done() or self._method in SAFE_METHODS:
            return [work]
        _under_way.add(work)
        work.add_done_callback(_under_way.discard)
        return []

    async def _result(self) -> Rendered:
        try:
            return await on_web_thread(self.rendered, await self._work())
        except Exception as error:  # noqa: BLE001 - the boundary of a request, as a view is
            # Django's own way with what nothing knows: logged, and a 500 that tells nothing.
            return self.rendered(self.refused(error) or response_for_exception(self._request, error))

    def rendered(self, response: Any) -> Rendered:
        """What is sent of the response; called on a thread."""
        headers = dict(response.headers)
        if response.streaming:
            return Rendered(response.status_code, headers, stream=response.streaming_content)
        if response.content:
            headers["Content-Length"] = str(len(response.content))
        return Rendered(response.status_code, headers, response.content, cookies=response.cookies)

    def refused(self, error: Exception) -> HttpResponseBase | None:  # noqa: ARG002 - for subclasses
        """What a caller is answered whose work has failed like this; None for what is nothing that a caller did."""
        return None

    async def _send(self, rendered: Rendered, send: Send, gone: asyncio.Future[None]) -> None:
        self.status_code = rendered.status
        del self.headers["Content-Type"]
        for name, value in rendered.headers.items():
            self.headers[name] = value
        self.cookies.update(rendered.cookies or {})
        if self.measures_itself:
            measure(self._method, self.status_code, time.perf_counter() - self._began)
        with suppress(OSError):
            await send({"type": "http.response.start", "status": self.status_code, "headers": raw_headers(self)})
            if rendered.stream is not None:
                async with aclosing(rendered.stream) as chunks:
                    async for chunk in chunks:
                        if gone.done():
                            return
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": rendered.body})


_under_way: Final[set[asyncio.Task[Any]]] = set()
"""The loop itself holds tasks only weakly."""


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
