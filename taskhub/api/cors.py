"""Other sites' pages may open streams, as spec 000 says; without cookies, so by a ticket. Everything else is closed."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Final, ParamSpec

from django.http import HttpRequest, HttpResponse

P = ParamSpec("P")
View = Callable[..., Coroutine[Any, Any, HttpResponse]]

CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type",
}


def cross_origin(view: View) -> View:
    """A stream's view with spec 000's headers on every answer; OPTIONS is answered with them alone."""

    @wraps(view)
    async def answered(request: HttpRequest, /, *args: Any, **kwargs: Any) -> HttpResponse:
        response = HttpResponse(status=204) if request.method == "OPTIONS" else await view(request, *args, **kwargs)
        for name, value in CORS.items():
            response.headers[name] = value
        return response

    return answered
