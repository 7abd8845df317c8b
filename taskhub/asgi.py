"""Django's ASGI handler, as this service needs it.

Django's own makes a thread and a database connection for every request, sends each middleware to that thread and back,
and keeps the thread for as long as a response streams. Here

1. a request is answered in one go, middleware and view, on one of a few threads that stay, with the database
   connections they keep (`TASKHUB_WEB_THREADS`; an async view still runs on the server's loop);
2. an `EventStream` is sent after that, by the loop alone: it holds no thread and no connection.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from taskhub.events.stream import EventStream, Receive, Send


class HubHandler(ASGIHandler):
    def __init__(self) -> None:
        super().__init__()
        self._threads = ThreadPoolExecutor(settings.TASKHUB_WEB_THREADS, thread_name_prefix="web")

    def load_middleware(self, is_async: bool = False) -> None:  # noqa: ARG002 - Django's interface
        """All of it runs on the request's thread, so none needs to be async."""
        super().load_middleware(is_async=False)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        set_script_prefix(get_script_prefix(scope))
        response = await self._on_thread(self._respond, scope, body)
        if isinstance(response, EventStream):
            await response.run(receive, send)
            return
        await self.send_response(response, send)
        if response.streaming:
            await self._on_thread(response.close)

    async def _on_thread(self, function: Any, *arguments: Any) -> Any:
        return await sync_to_async(function, thread_sensitive=False, executor=self._threads)(*arguments)

    def _respond(self, scope: dict[str, Any], body: IO[bytes]) -> HttpResponseBase:
        """From the body to the answer, with the signals at which Django looks after this thread's connections."""
        signals.request_started.send(sender=self.__class__, scope=scope)
        with body:
            request, refusal = self.create_request(scope, body)
            response = self.get_response(request) if request is not None else refusal or HttpResponse(status=400)
        response._handler_class = self.__class__  # type: ignore[attr-defined]  # noqa: SLF001 - as Django's handler does
        if not response.streaming or isinstance(response, EventStream):
            response.close()
        return response
