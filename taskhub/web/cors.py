"""CORS of the streams: `*` on every answer, and their preflights (spec 000).

The rest of the API has django-cors-headers, for the origins of `TASKHUB_ALLOWED_ORIGINS`; its setting
`CORS_URLS_REGEX` leaves the streams out. `*` allows no cookies. Which origin may open a stream is decided when it is
asked for (`taskhub/web/origin_check.py`, `taskhub/api/stream_view.py`), not by a preflight, which has no credentials.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

STREAM_PATHS: Final = r"/(?:sse|api/events/stream/?|api/exec/logs/[^/]+/stream/?)\Z"
_STREAM: Final = re.compile(STREAM_PATHS)
METHODS: Final = "GET, OPTIONS"
CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": METHODS,
    "Access-Control-Allow-Headers": "Content-Type, Authorization, Last-Event-ID, Cache-Control",
    "Access-Control-Expose-Headers": "Retry-After, WWW-Authenticate, X-Request-ID",
}
PREFLIGHT: Final = {"Allow": METHODS, "Access-Control-Max-Age": "86400"}
"""A day; browsers have lower limits of their own."""


class StreamCors:
    """Middleware, before django-cors-headers: answers OPTIONS of a stream, and marks every other answer of one."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not is_stream(request):
            return self._get_response(request)
        if request.method == "OPTIONS":
            response: HttpResponseBase = HttpResponse(status=204, headers=PREFLIGHT)
        else:
            response = self._get_response(request)
        for name, value in CORS.items():
            response.headers[name] = value
        return response


def is_stream(request: HttpRequest) -> bool:
    return is_stream_path(request.path_info)


def is_stream_path(path: str) -> bool:
    return _STREAM.match(path) is not None
