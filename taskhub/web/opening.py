"""The answer of a view that opens a stream, where the view is a coroutine of the server's loop.

A stream needs no thread to be opened: its middleware runs on the loop (`asgi_handler.py`), before the view. What
middleware said in headers goes with whatever the view answers, a stream or a refusal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final

from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.exception import response_for_exception
from django.http import HttpRequest, HttpResponse
from django.utils.log import log_response
from opentelemetry import context

from taskhub.observability.request_metrics import measure
from taskhub.web.thread_pool import with_database

_SESSIONS: Final = SessionMiddleware(lambda _: HttpResponse())
View = Callable[[], Coroutine[Any, Any, HttpResponse]]


class Opening(HttpResponse):
    """What middleware sees instead of the answer of `view`."""

    streaming = True
    measures_itself = True

    def __init__(self, request: HttpRequest, view: View, *, content_type: str) -> None:
        super().__init__(content_type=content_type)
        self._began = time.perf_counter()
        self._request = request
        self._view = view
        # That of the request's span, which middleware has ended when the view runs.
        self._trace = context.get_current()

    async def answer(self) -> HttpResponse:
        """What the view answers, with the headers of middleware."""
        token = context.attach(self._trace)
        try:
            answer = await self._view()
        except Exception as error:  # noqa: BLE001 - the boundary of a request, as a view is
            answer = response_for_exception(self._request, error)
        finally:
            context.detach(token)
        if answer.status_code >= HTTPStatus.BAD_REQUEST:
            log_response(
                "%s: %s", answer.reason_phrase, self._request.path, response=answer, request=self._request
            )  # as Django's handler does
        if self._request.session.modified:
            # A session that the view has ended, or renewed.
            answer = await with_database(_SESSIONS.process_response, self._request, answer)
        measure(str(self._request.method), answer.status_code, time.perf_counter() - self._began)
        for name, value in self.items():
            answer.headers.setdefault(name, value)
        answer.cookies.update(self.cookies)
        if not answer.streaming:
            answer.headers["Content-Length"] = str(len(answer.content))
        return answer
