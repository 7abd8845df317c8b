"""The answer of a view that opens a stream, where the view is a coroutine of the server's loop.

A stream needs no thread to be opened: its middleware runs on the loop (`asgi_handler.py`), before the view. What
middleware said in headers goes with whatever the view answers, a stream or a refusal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any

from django.core.handlers.exception import response_for_exception
from django.http import HttpRequest, HttpResponse

from taskhub.observability.request_metrics import measure

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

    async def answer(self) -> HttpResponse:
        """What the view answers, with the headers of middleware."""
        try:
            answer = await self._view()
        except Exception as error:  # noqa: BLE001 - the boundary of a request, as a view is
            answer = response_for_exception(self._request, error)
        measure(str(self._request.method), answer.status_code, time.perf_counter() - self._began)
        for name, value in self.items():
            answer.headers.setdefault(name, value)
        answer.cookies.update(self.cookies)
        if not answer.streaming:
            answer.headers["Content-Length"] = str(len(answer.content))
        return answer
