"""ASGI handler of the service, derived from Django's.

Django's handler uses a thread and a database connection for every request, switches threads for each middleware, and
keeps the thread while a response streams. Here

1. middleware and view of a request run together on one of a few permanent threads, with their database connections
   (`TASKHUB_WEB_THREADS`; an async view still runs on the server's loop). Writing requests leave some threads free:
   a lock in the database that all of them wait for keeps no reader waiting;
2. a `DetachedResponse` (a stream, an exchange with the MCP server, the answer of a handler that waits for something:
   `taskhub/web/awaited_response.py`) is sent after that by the loop alone, without a thread and a connection;
3. `/healthz` is answered on the loop, so it tells whether the loop is alive, however busy the threads are;
4. so are streams: their middleware asks no database, and their view, a coroutine, takes a thread only where it asks one
   (`taskhub/web/opening.py`).
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from typing import IO, Any, Final, cast

from django.conf import settings
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.http import HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix
from rest_framework.permissions import SAFE_METHODS

from taskhub.errors import HubError, TooLarge, Unavailable
from taskhub.lib.database_errors import RETRY_S
from taskhub.observability.log_context import begin_request
from taskhub.observability.request_logging import REQUEST_ID, RequestLine
from taskhub.observability.request_metrics import measure
from taskhub.web.cors import is_stream_path
from taskhub.web.detached_response import DetachedResponse, Receive, Send
from taskhub.web.opening import Opening
from taskhub.web.thread_pool import on_web_thread, thread_slot

_HEALTH: Final = "/healthz"
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
DRAIN: Final = 8
"""Multiple of the body limit that is read and discarded, so that the client reads our response."""


class HubHandler(ASGIHandler):
    def load_middleware(self, is_async: bool = False) -> None:  # noqa: ARG002 - Django's interface
        """All middleware runs on the request's thread, so none is async."""
        super().load_middleware(is_async=False)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        line = RequestLine(scope)
        sending = await self._answer(scope, receive, send)
        if sending is not None:
            line.finished(await sending)

    async def _answer(self, scope: Any, receive: Receive, send: Send) -> Coroutine[Any, Any, int] | None:
        """What sends the response, and returns its status; None if the client is gone.

        It is all that is left of a request whose stream is open for hours. Binds the log context on the loop, too.
        """
        limited = _LimitedBody(receive)
        try:
            body = await self.read_body(limited)
        except RequestAborted:
            return self._send(_too_big(), send) if limited.is_too_big else None
        if (prefix := get_script_prefix(scope)) != "/":
            set_script_prefix(prefix)
        if _needs_no_thread(scope["path"]):
            response: Any = self._respond(scope, body)
        else:
            try:
                async with thread_slot(writes=_may_write(scope), row=_row_of(scope["path"])):
                    response = await on_web_thread(self._respond, scope, body)
            except Unavailable as error:
                response = _refused(error, {"Retry-After": str(RETRY_S)})
        if isinstance(response, Opening):
            response = await response.answer()
            _forget_headers(scope)
        if isinstance(response, DetachedResponse):
            return response.sending(receive, send)
        return self._send(response, send)

    async def _send(self, response: Any, send: Send) -> int:
        if response.streaming and not response.is_async:
            response.streaming_content = self._chunks(response.streaming_content)
        await self.send_response(response, send)
        if response.streaming:
            await on_web_thread(response.close)
        return cast("int", response.status_code)

    async def _chunks(self, content: Iterator[bytes]) -> AsyncIterator[bytes]:
        """A file's content in chunks; Django would read all of it first, and warn."""
        while (chunk := await on_web_thread(next, content, None)) is not None:
            yield chunk

    def _respond(self, scope: dict[str, Any], body: IO[bytes]) -> HttpResponseBase:
        """From the body to the response, with the signals on which Django maintains this thread's connections."""
        began = time.perf_counter()
        signals.request_started.send(sender=self.__class__, scope=scope)
        with body:
            request, refusal = self.create_request(scope, body)
            response = self.get_response(request) if request is not None else refusal or HttpResponse(status=400)
        response._handler_class = self.__class__  # type: ignore[attr-defined]  # noqa: SLF001 - as Django's handler does
        if not response.streaming or isinstance(response, DetachedResponse | Opening):
            response.close()
        if not getattr(response, "measures_itself", False):
            measure(scope["method"], response.status_code, time.perf_counter() - began)
        return response


def _forget_headers(scope: Mapping[str, Any]) -> None:
    """The server would keep them for as long as the connection waits; half a KiB, with a token's."""
    if isinstance(scope["headers"], list):
        scope["headers"].clear()


def _needs_no_thread(path: str) -> bool:
    """The view and its middleware use no database."""
    return path == _HEALTH or is_stream_path(path)


def _may_write(scope: Mapping[str, Any]) -> bool:
    """A message over MCP is a POST, but its view only authenticates; the tool that it calls takes a slot of its own."""
    return scope["method"] not in SAFE_METHODS and scope["path"].rstrip("/") != "/mcp"


def _row_of(path: str) -> str:
    """The first id in an address: the row that a request locks, if it locks one."""
    found = _ID.search(path)
    return found.group() if found else ""


class _LimitedBody:
    """Receives a request's body up to the limit; Django would write one of any size to the disk first.

    The rest of a body that is too large is drained. Its end looks like a disconnect, after which Django closes what it
    has collected, and `is_too_big` says what it was.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._size = 0
        self.is_too_big = False

    async def __call__(self) -> Mapping[str, Any]:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        while True:
            message = await self._receive()
            self._size += len(message.get("body", b""))
            if self._size <= limit or message["type"] != "http.request":
                return message
            if self._size > DRAIN * limit or not message.get("more_body", False):
                self.is_too_big = True
                return {"type": "http.disconnect"}


def _too_big() -> JsonResponse:
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return _refused(
        TooLarge(f"A request body may have at most {limit} bytes.", code="body_too_large"), {"Connection": "close"}
    )


def _refused(error: HubError, headers: Mapping[str, str]) -> JsonResponse:
    """Without a thread: no middleware runs for it."""
    return JsonResponse(error.body(), status=error.status, headers={**headers, REQUEST_ID: begin_request("")})
