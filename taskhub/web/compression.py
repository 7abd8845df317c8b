"""Compression of answers (gzip), without the BREACH attack.

BREACH learns a secret of an answer by its length: it lets the victim's browser ask again and again, with guesses in the
address, for an answer that repeats the guess beside the secret. That takes requests with the victim's cookies which a
page of another site has started. Such a request is never answered compressed: browsers mark it (`Sec-Fetch-Site:
cross-site` or `same-site`), also after a redirect, and one without the mark that brings cookies may be that of an old
browser. Django's middleware also adds a random number of bytes, and masks the CSRF token in each answer.

Left alone are streams and files; answers with an ETag, which is the version of a row and has to stay the same; and
those of less than a packet. Static files are compressed when they are prepared (`taskhub/web/static_storage.py`).
"""

from __future__ import annotations

from typing import Final

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware

LEAST_BYTES: Final = 1400
_TEXTS: Final = ("text/", "application/json", "application/javascript", "application/vnd.oai.openapi")
_OWN: Final = frozenset({"same-origin", "none"})
"""Started by a page of ours, or by the user: an address that was typed, a bookmark."""


class Compression(GZipMiddleware):
    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return super().process_response(request, response) if _is_compressible(request, response) else response


def _is_compressible(request: HttpRequest, response: HttpResponseBase) -> bool:
    if response.streaming or response.has_header("ETag"):
        return False
    if len(getattr(response, "content", b"")) < LEAST_BYTES:
        return False
    if not response.headers.get("Content-Type", "").startswith(_TEXTS):
        return False
    site = request.headers.get("Sec-Fetch-Site")
    return site in _OWN if site is not None else not request.COOKIES
