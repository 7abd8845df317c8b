"""Origin check: which pages may ask, by `Origin`, `Sec-Fetch-Site` and `Host`.

Locally, reading is open, and a browser on this machine may show any site. `OwnPagesOnly` stops three tricks there: a
page of another site that asks localhost (told by `Origin`, or by `Sec-Fetch-Site` where a browser sends no `Origin`),
and a name of another site that was made to point at 127.0.0.1 (DNS rebinding, told by `Host`). Programs send none of
these headers and are not concerned.

Streams are decided by their view, in both profiles: pages of other origins open them with a ticket or a bearer token,
which a foreign page cannot have, and never with cookies. Locally, pages on another port of loopback may also read
without: a process of this machine served them, which may read anyway. `Origin: null` proves nothing: any site's
sandboxed frame has it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Final
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase

from taskhub.errors import Forbidden
from taskhub.web.cors import is_stream

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_FOREIGN_FETCH: Final = frozenset({"cross-site", "same-site"})
_REFUSAL: Final = "Pages of other origins are refused unless the setting TASKHUB_ALLOWED_ORIGINS names their origin."
STREAM_REFUSAL: Final = (
    "Pages of other origins open a stream with a ticket (POST /api/tickets/ makes its URL) or with "
    "`Authorization: Bearer <token>`; or the setting TASKHUB_ALLOWED_ORIGINS names their origin."
)


class ForeignOrigin(Forbidden):
    default_code = "foreign_origin"


class PageOrigin(Enum):
    """Where the page is from that asks."""

    NONE = auto()
    """No `Origin`: a program, or a page of ours that reads."""
    OWN = auto()
    ALLOWED = auto()
    """Named by `TASKHUB_ALLOWED_ORIGINS`."""
    LOOPBACK = auto()
    """Another port of this machine, which asks by a name of loopback."""
    FOREIGN = auto()
    """Any other, `null` included."""

    @property
    def may_use_cookies(self) -> bool:
        return self in {PageOrigin.NONE, PageOrigin.OWN}

    @property
    def may_read_openly(self) -> bool:
        """Without credentials, where `TASKHUB_OPEN_READING` is on."""
        return self is not PageOrigin.FOREIGN


class OwnPagesOnly:
    """Middleware of the local profile: 403 for other sites' pages, 400 for a foreign `Host`, before anything else."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        origin = page_origin(request)  # raises DisallowedHost, which is a 400
        if origin is PageOrigin.NONE:
            refused = _comes_from_elsewhere(request)
        else:
            refused = origin in {PageOrigin.LOOPBACK, PageOrigin.FOREIGN} and not is_stream(request)
        if refused:
            return JsonResponse(ForeignOrigin(_REFUSAL).body(), status=ForeignOrigin.status)
        return self._get_response(request)


def guard_origin(request: HttpRequest) -> None:
    """Refuse pages of other origins, in any profile. Raises ForeignOrigin; DisallowedHost.

    A request without `Origin` is a program's: browsers send it with every POST.
    """
    if page_origin(request) in {PageOrigin.LOOPBACK, PageOrigin.FOREIGN} and request.headers["Origin"]:
        raise ForeignOrigin(_REFUSAL)


def page_origin(request: HttpRequest) -> PageOrigin:
    """Where the page is from that asks. Raises DisallowedHost."""
    host = request.get_host()
    origin = request.headers.get("Origin")
    if origin is None:
        return PageOrigin.NONE
    if origin == f"{request.scheme}://{host}":
        return PageOrigin.OWN
    if _is_own_page(origin, host):
        return PageOrigin.ALLOWED if origin in settings.TASKHUB_ALLOWED_ORIGINS else PageOrigin.OWN
    return PageOrigin.LOOPBACK if _is_loopback(origin, host) else PageOrigin.FOREIGN


def _is_own_page(origin: str, host: str) -> bool:
    """Whether it is one of our pages on this machine, by any loopback name; or one that the settings allow."""
    if origin in settings.TASKHUB_ALLOWED_ORIGINS:
        return True
    return _is_loopback(origin, host) and urlsplit(origin).port == urlsplit(f"//{host}").port


def _is_loopback(origin: str, host: str) -> bool:
    """Whether page and hub are both named as this machine; `host` is `name:port`."""
    try:
        sent, own = urlsplit(origin), urlsplit(f"//{host}")
        _ = sent.port, own.port  # ValueError where it is no number of a port
    except ValueError:
        return False
    return sent.scheme in {"http", "https"} and {_name(sent), _name(own)} <= _LOOPBACK


def _name(parts: SplitResult) -> str:
    """Without the dot that ends an absolute name: `localhost.` is `localhost`."""
    return (parts.hostname or "").removesuffix(".")


def _comes_from_elsewhere(request: HttpRequest) -> bool:
    """A load that a page of another site started. Following a link to one of our pages is none."""
    if request.headers.get("Sec-Fetch-Site") not in _FOREIGN_FETCH:
        return False
    return request.method != "GET" or request.headers.get("Sec-Fetch-Dest") != "document"
