"""Redirect addresses of OAuth clients: which may be registered, and how the consent page names them.

`https`, `http` on loopback only, or one of the private schemes of the settings (RFC 8252, section 7). The toolkit
compares the address of a request with the registered ones exactly, except for the port of a loopback address.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_PRINTABLE: Final = re.compile(r"[!-~]{1,2000}")
# As people read it; the content security policy of the consent page names it, too.
_WEB_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_MOST: Final = 10


class BadRedirect(ValueError):
    """A redirect address that no client may have; the text says why."""


def guard_redirects(uris: Any) -> None:
    """Raises BadRedirect."""
    if not isinstance(uris, list) or not 1 <= len(uris) <= _MOST:
        raise BadRedirect(f"redirect_uris must be a list of 1 to {_MOST} addresses.")
    for uri in uris:
        _guard_redirect(uri)


def _guard_redirect(uri: Any) -> None:
    # A space would make two addresses of one: the toolkit stores them as a list of words.
    if not isinstance(uri, str) or not _PRINTABLE.fullmatch(uri):
        raise BadRedirect("Each of redirect_uris must be an address of at most 2,000 printable ASCII characters.")
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        raise BadRedirect("Each of redirect_uris must be an address.") from None
    if "#" in uri or "@" in parts.netloc or not (parts.netloc or parts.path):
        raise BadRedirect("redirect_uris must have no fragment and no user name.")
    if parts.scheme not in {"http", "https", *settings.TASKHUB_OAUTH_REDIRECT_SCHEMES} or (
        parts.scheme in {"http", "https"} and not _WEB_HOST.fullmatch(parts.netloc)
    ):
        raise BadRedirect("redirect_uris must begin with https://, or with http:// and a loopback name.")
    if parts.scheme == "http" and not is_loopback(uri):
        raise BadRedirect("redirect_uris with http:// must be on loopback: localhost, 127.0.0.1 or [::1].")


def is_printable(uri: str) -> bool:
    """Whether it is what it looks like: of other characters some are left out where an address is taken apart."""
    return _PRINTABLE.fullmatch(uri) is not None


def is_loopback(uri: str) -> bool:
    return (urlsplit(uri).hostname or "") in _LOOPBACK


def shown_redirect(uri: str) -> str:
    """Where an answer goes, as the consent page says it: the host, or the scheme of a program's own."""
    parts = urlsplit(uri)
    return parts.netloc if parts.scheme in {"http", "https"} else f"{parts.scheme}: (a program on your device)"


def form_target(uri: str) -> str:
    """The source in `form-action` that lets the answer to a form lead there; such a policy cannot name `[::1]`."""
    parts = urlsplit(uri)
    has_name = parts.scheme in {"http", "https"} and "[" not in parts.netloc
    return f"{parts.scheme}://{parts.netloc}" if has_name else f"{parts.scheme}:"
