"""Security headers of every response: content security policy, framing, cross-origin loading.

django-csp builds the policy of pages from the settings. Responses that are not pages (JSON, streams, files) may do
nothing; their policy is a constant, because every API response has it.
"""

from __future__ import annotations

from typing import Final

from csp.middleware import CSPMiddleware
from django.http import HttpRequest
from django.http.response import HttpResponseBase

NO_PAGE: Final = "default-src 'none'; frame-ancestors 'none'"


class SecurityHeaders(CSPMiddleware):
    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        # Other sites may not load responses, not even as an image or a script; streams allow it by CORS.
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        if response.headers.get("Content-Type", "").startswith("text/html"):
            return super().process_response(request, response)
        response.headers["Content-Security-Policy"] = NO_PAGE
        return response
