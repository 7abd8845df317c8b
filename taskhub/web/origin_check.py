"""The local profile's door: a browser on this machine may be anybody's.

Reading is open there, so two tricks must get nothing: a page of another site that asks localhost (its `Origin`, or
`Sec-Fetch-Site` where a browser sends no Origin, gives it away), and a name of another site that was made to point at
127.0.0.1 (DNS rebinding: its `Host` does). Programs send neither header and are not concerned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase

from taskhub.errors import Forbidden

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_FOREIGN: Final = frozenset({"cross-site", "same-site"})
_REFUSAL: Final = "Another site's page gets nothing here."


class ForeignOrigin(Forbidden):
    default_code = "foreign_origin"


class OwnPagesOnly:
    """Refuses what comes from another site's page, with 403, and a foreign Host, with 400, before anything else."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        host = request.get_host()  # raises DisallowedHost, which is a 400
        origin = request.headers.get("Origin")
        foreign = not _is_own_page(origin, host) if origin is not None else _comes_from_elsewhere(request)
        if foreign:
            return JsonResponse(ForeignOrigin(_REFUSAL).body(), status=ForeignOrigin.status)
        return self._get_response(request)


def guard_origin(request: HttpRequest) -> None:
    """For a door at which pages of other sites have no business, in any profile. Raises ForeignOrigin; DisallowedHost.

    Who knows no Origin is a program: a browser names it with whatever it sends by POST.
    """
    host = request.get_host()
    origin = request.headers.get("Origin", "")
    if origin not in {"", f"{request.scheme}://{host}"} and not _is_own_page(origin, host):
        raise ForeignOrigin(_REFUSAL)


def _is_own_page(origin: str, host: str) -> bool:
    """One of our pages on this machine, by whichever loopback name; or one that the settings allow."""
    if origin in settings.TASKHUB_ALLOWED_ORIGINS:
        return True
    try:
        sent, own = urlsplit(origin), urlsplit(f"//{host}")
        same_port = sent.port == own.port
    except ValueError:
        return False
    return same_port and sent.scheme in {"http", "https"} and {sent.hostname, own.hostname} <= _LOOPBACK


def _comes_from_elsewhere(request: HttpRequest) -> bool:
    """A load that a page of another site started. Following a link to one of our pages is none."""
    if request.headers.get("Sec-Fetch-Site") not in _FOREIGN:
        return False
    return request.method != "GET" or request.headers.get("Sec-Fetch-Dest") != "document"
