"""What browsers are told about every answer: which scripts may run on it, who may embed it, who may load it.

django-csp writes the policy of pages, from the settings. What is no page (JSON, a stream, a file) may do nothing at
all; that policy is one constant, for it goes with every answer of the API.
"""

from __future__ import annotations

from typing import Final

from csp.middleware import CSPMiddleware
from django.http import HttpRequest
from django.http.response import HttpResponseBase

NO_PAGE: Final = "default-src 'none'; frame-ancestors 'none'"


class SecurityHeaders(CSPMiddleware):
    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        # Other sites' pages get nothing, not even as an image or a script; streams say otherwise by CORS.
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        if response.headers.get("Content-Type", "").startswith("text/html"):
            return super().process_response(request, response)
        response.headers["Content-Security-Policy"] = NO_PAGE
        return response
