"""Request logging: the log context of a request, and one record at its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from taskhub.observability.log_context import begin_request, bind, bind_subjects
from taskhub.roles import Door

log = logging.getLogger("taskhub.requests")

REQUEST_ID: Final = "X-Request-ID"
_UNTOLD: Final = frozenset({"/healthz", "/readyz", "/metrics"})


class RequestContext:
    """First middleware: binds the request id to all records of a request, and adds it to the response.

    The id stays bound when the response is returned, because streams are sent after that. The thread's next request
    replaces it.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request_id = begin_request(request.META.get("HTTP_X_REQUEST_ID", ""))
        response = self._get_response(request)
        response.headers[REQUEST_ID] = request_id
        return response

    def process_view(
        self,
        request: HttpRequest,
        view: Callable[..., Any],  # noqa: ARG002 - Django's interface
        args: tuple[Any, ...],  # noqa: ARG002 - likewise
        kwargs: Mapping[str, object],
    ) -> None:
        bind(door=_door(request))
        bind_subjects(kwargs)


def _door(request: HttpRequest) -> Door:
    match = request.resolver_match
    if match is not None and match.url_name == "mcp":
        return "mcp"
    return "admin" if match is not None and "admin" in match.app_names else "rest"


class RequestLine:
    """One record per request, written after the last byte. Probes and static files are not logged."""

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self._scope = scope
        self._began = time.perf_counter()

    def finished(self, status: int) -> None:
        path: str = self._scope["path"]
        if not log.isEnabledFor(logging.INFO) or path.rstrip("/") in _UNTOLD or path.startswith(settings.STATIC_URL):
            return
        method = self._scope["method"]
        took_ms = round(1000 * (time.perf_counter() - self._began), 1)
        fields = {"method": method, "path": path, "status": status, "duration_ms": took_ms}
        log.info("%s %s %d", method, path, status, extra=fields)
