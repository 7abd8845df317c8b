"""Async DRF handlers: a request that waits for something else than our database holds no thread.

1. DRF's dispatch (authentication, throttles, permissions, query, body) runs on a web thread, as for every view;
2. the handler's coroutine runs on the event loop (`taskhub/web/awaited_response.py`), with the log context and the
   trace of the request. Inside, `taskhub.web.thread_pool.with_database` takes a thread for as long as the database
   needs it;
3. its result, or its error as the same body as everywhere, is rendered on a thread and sent by the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import Any, TypeVar

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from taskhub.api.errors import answer
from taskhub.api.renderers import JSONRenderer
from taskhub.web import awaited_response
from taskhub.web.awaited_response import Rendered, Work
from taskhub.web.thread_pool import wait_here

AsyncHandler = TypeVar("AsyncHandler", bound=Callable[..., Coroutine[Any, Any, HttpResponseBase]])


def awaited(
    *, body: Callable[..., serializers.BaseSerializer[Any]] | None = None
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


class AwaitedResponse(awaited_response.AwaitedResponse):
    """Its errors are answered as a view's are, and DRF's responses are rendered as JSON."""

    def __init__(self, request: HttpRequest, work: Work) -> None:
        super().__init__(request, work, content_type="application/json")

    def rendered(self, response: Any) -> Rendered:
        """Takes about a second for 64 MB of log, so it runs on a thread."""
        if not isinstance(response, Response):
            return super().rendered(response)
        headers = dict(response.headers)
        headers.pop("Content-Type", None)  # it is made while DRF renders
        body = JSONRenderer().render(response.data)
        headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))} if body else {}
        return Rendered(response.status_code, headers, body)

    def refused(self, error: Exception) -> HttpResponseBase | None:
        return answer(error, {})
