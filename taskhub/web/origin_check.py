"""Origin check: refuses requests that pages of other sites send to the local profile.

Reading is open there, so two attacks must fail: a page of another site that sends requests to localhost (detected by
`Origin`, or `Sec-Fetch-Site` if the browser sends no Origin), and a foreign name that resolves to 127.0.0.1 (DNS
rebinding; detected by `Host`). Programs send neither header and are not affected.
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
_REFUSAL: Final = "Requests from pages of other sites are refused."


class ForeignOrigin(Forbidden):
    default_code = "foreign_origin"


class OwnPagesOnly:
    """Refuses requests from other sites' pages (403) and with a foreign Host (400), before all other middleware."""

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
    """Refuse pages of other sites, in any profile. Raises ForeignOrigin; DisallowedHost.

    Clients without an Origin header are programs: browsers send it with every POST.
    """
    host = request.get_host()
    origin = request.headers.get("Origin", "")
    if origin not in {"", f"{request.scheme}://{host}"} and not _is_own_page(origin, host):
        raise ForeignOrigin(_REFUSAL)


def _is_own_page(origin: str, host: str) -> bool:
    """Whether it is a page of this hub on any loopback name, or an origin that the settings allow."""
    if origin in settings.TASKHUB_ALLOWED_ORIGINS:
        return True
    try:
        sent, own = urlsplit(origin), urlsplit(f"//{host}")
        same_port = sent.port == own.port
    except ValueError:
        return False
    return same_port and sent.scheme in {"http", "https"} and {sent.hostname, own.hostname} <= _LOOPBACK


def _comes_from_elsewhere(request: HttpRequest) -> bool:
    """Whether another site's page started the request. Following a link to one of our pages does not count."""
    if request.headers.get("Sec-Fetch-Site") not in _FOREIGN:
        return False
    return request.method != "GET" or request.headers.get("Sec-Fetch-Dest") != "document"
