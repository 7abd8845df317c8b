"""Async DRF handlers: a request that waits for something else than our database holds no thread.

1. DRF's dispatch (authentication, throttles, permissions, query, body) runs on a web thread, as for every view;
2. the handler's coroutine runs on the event loop, with the log context and the trace of the request. Inside,
   `taskhub.web.thread_pool.with_database` takes a thread for as long as the database needs it;
3. its result, or its error as the same body as everywhere, is rendered on a thread and sent by the loop.

A client that goes away cancels a request that only reads. Any other runs to its end: an effect at Daytona must not
lack its audit entry, nor its idempotency key its answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, suppress
from contextvars import copy_context
from functools import partial, wraps
from typing import Any, Final, NamedTuple, TypeVar

from django.core.handlers.exception import response_for_exception
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework import serializers
from rest_framework.permissions import SAFE_METHODS
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from taskhub.api.errors import answer
from taskhub.lib.cancellation import cancel_all
from taskhub.web.asgi_handler import measure
from taskhub.web.detached_response import DetachedResponse, Receive, Send
from taskhub.web.thread_pool import on_web_thread, wait_here

AsyncHandler = TypeVar("AsyncHandler", bound=Callable[..., Coroutine[Any, Any, HttpResponseBase]])
Work = Callable[[], Coroutine[Any, Any, HttpResponseBase]]


def awaited(
    *, body: type[serializers.BaseSerializer[Any]] | None = None
) -> Callable[[AsyncHandler], Callable[..., HttpResponseBase]]:
    """For a handler that is written as `async def`.

    With `body` the request's body is validated first, on the thread, and handed over as `body=`: a dictionary.
    """

    def decorated(handler: AsyncHandler) -> Callable[..., HttpResponseBase]:
        @wraps(handler)
        def begun(view: Any, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if body is not None:
                given = body(data=request.data)
                given.is_valid(raise_exception=True)
                kwargs["body"] = dict(given.validated_data)
            work = partial(handler, view, request, *args, **kwargs)
            django_request = request._request  # noqa: SLF001 - DRF's name for Django's request
            if not hasattr(django_request, "scope"):
                # Django's test client: there is no loop that could send the response.
                return wait_here(work)
            return AwaitedResponse(django_request, work)

        return begun

    return decorated


class _Rendered(NamedTuple):
    """`stream` comes before `body`."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    stream: AsyncGenerator[bytes, None] | None = None


class AwaitedResponse(DetachedResponse):
    """Sent by the loop when `work` is done. Its errors are answered as a view's are."""

    measures_itself = True

    def __init__(self, request: HttpRequest, work: Work) -> None:
        super().__init__(content_type="application/json")
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

    def _cancellable(self, work: asyncio.Task[_Rendered]) -> list[asyncio.Task[Any]]:
        """What ends with this response. A server that cancels it leaves an effect under way alone."""
        if work.done() or self._method in SAFE_METHODS:
            return [work]
        _under_way.add(work)
        work.add_done_callback(_under_way.discard)
        return []

    async def _result(self) -> _Rendered:
        try:
            return await on_web_thread(_rendered, await self._work())
        except Exception as error:  # noqa: BLE001 - the boundary of a request, as a view is
            # Django's own way with what nothing knows: logged, and a 500 that tells nothing.
            return _rendered(answer(error, {}) or response_for_exception(self._request, error))

    async def _send(self, rendered: _Rendered, send: Send, gone: asyncio.Future[None]) -> None:
        self.status_code = rendered.status
        del self.headers["Content-Type"]
        for name, value in rendered.headers.items():
            self.headers[name] = value
        if self.measures_itself:
            measure(self._method, self.status_code, time.perf_counter() - self._began)
        with suppress(OSError):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers()})
            if rendered.stream is not None:
                async with aclosing(rendered.stream) as chunks:
                    async for chunk in chunks:
                        if gone.done():
                            return
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": rendered.body})


_under_way: Final[set[asyncio.Task[Any]]] = set()
"""The loop itself holds tasks only weakly."""


def _rendered(response: Any) -> _Rendered:
    """Takes about a second for 64 MB of log, so it runs on a thread."""
    headers = dict(response.headers)
    if response.streaming:
        return _Rendered(response.status_code, headers, stream=response.streaming_content)
    if isinstance(response, Response):
        headers.pop("Content-Type", None)  # it is made while DRF renders
        body = JSONRenderer().render(response.data)
        headers |= {"Content-Type": "application/json"} if body else {}
    else:
        body = response.content
    if body:
        headers["Content-Length"] = str(len(body))
    return _Rendered(response.status_code, headers, body)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
