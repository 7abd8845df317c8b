"""Admin pages that wait on the event loop for the sandbox service, and hold no thread meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from django.contrib.messages.api import get_messages
from django.contrib.messages.storage.base import BaseStorage
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.csrf import get_token
from django.template.response import SimpleTemplateResponse

from taskhub.web.awaited_response import AwaitedResponse
from taskhub.web.thread_pool import wait_here, with_database


def awaited_page(request: HttpRequest, work: Callable[[], Coroutine[Any, Any, HttpResponseBase]]) -> HttpResponseBase:
    """The page that `work` answers. It runs on the loop, after the request's middleware: see `page_made`."""
    get_token(request)  # its cookie is set by the middleware, which does not see the page
    if not hasattr(request, "scope"):
        # Django's test client: there is no loop that could send the response.
        return wait_here(work)
    return AwaitedResponse(request, work)


async def page_made(request: HttpRequest, make: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    """The page that `make` answers, called and rendered on a thread with a database, with the messages of both."""
    return await with_database(_made, request, make)


def _made(request: HttpRequest, make: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    page = make()
    if isinstance(page, SimpleTemplateResponse):
        page.render()
    told = get_messages(request)
    if isinstance(told, BaseStorage):
        told.update(page)  # the middleware has seen the response that waits, not this one
    return page
