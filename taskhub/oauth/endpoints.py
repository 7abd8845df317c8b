"""Token and revocation endpoints, and the metadata of `/mcp` (RFC 9728)."""

from __future__ import annotations

from http import HTTPStatus
from math import ceil
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from oauth2_provider.views import OAuthProtectedResourceMetadataView, RevokeTokenView, TokenView

from taskhub.auth.rate_limits import Limit, address_requests, network_of
from taskhub.oauth.resource import issuer, mcp_resource


class TokenEndpoint(TokenView):  # type: ignore[misc]  # the toolkit has no types
    """Codes and refresh tokens only: the server class of the settings knows no other grant."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:  # noqa: ARG002 - Django's interface
        refusal = refuse(request, address_requests)
        if refusal is not None:
            return refusal
        answer: HttpResponse = self.authorization_flow_token_response(request)
        # The toolkit leaves them out of what is refused while tokens are saved.
        answer["Content-Type"], answer["Cache-Control"] = "application/json", "no-store"
        return answer


class RevocationEndpoint(RevokeTokenView):  # type: ignore[misc]  # likewise
    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        refusal = refuse(request, address_requests)
        if refusal is not None:
            return refusal
        answer: HttpResponse = super().post(request, *args, **kwargs)
        return answer


class ResourceMetadata(OAuthProtectedResourceMetadataView):  # type: ignore[misc]  # likewise
    """The same at `/.well-known/oauth-protected-resource` and below it for `/mcp`: there is one resource."""

    def get_resource(self, request: HttpRequest) -> str:
        return mcp_resource(request)

    def get_authorization_servers(self, request: HttpRequest) -> list[str]:
        return [issuer(request)]


def refuse(request: HttpRequest, limit: Limit) -> JsonResponse | None:
    """The refusal of a form that the database would not take, and of an address beyond its limit; else it is counted.

    Errors are those of RFC 6749, section 5.2.
    """
    if any("\0" in value for value in request.POST.values()):
        return oauth_error("invalid_request", "A parameter has a NUL character.")
    wait_s = limit.wait_s(network_of(request))
    if wait_s > 0:
        refused = oauth_error("slow_down", "Too many requests; wait.", HTTPStatus.TOO_MANY_REQUESTS)
        refused["Retry-After"] = str(ceil(wait_s))
        return refused
    limit.count(network_of(request))
    return None


def oauth_error(code: str, words: str, status: int = HTTPStatus.BAD_REQUEST) -> JsonResponse:
    body = {"error": code, "error_description": words}
    return JsonResponse(body, status=status, headers={"Cache-Control": "no-store"})
