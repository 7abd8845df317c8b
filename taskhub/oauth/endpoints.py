"""Token and revocation endpoints, and the metadata of `/mcp` (RFC 9728)."""

from __future__ import annotations

from http import HTTPStatus
from math import ceil
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from oauth2_provider.models import get_access_token_model
from oauth2_provider.views import OAuthProtectedResourceMetadataView, RevokeTokenView, TokenView

from taskhub.auth.rate_limits import Limit, address_requests, failures, network_of
from taskhub.oauth.resource import issuer, mcp_resource


class TokenEndpoint(TokenView):  # type: ignore[misc]  # the toolkit has no types
    """Codes and refresh tokens only: the server class of the settings knows no other grant."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:  # noqa: ARG002 - Django's interface
        refusal = _refuse_form(request) or refuse(request, address_requests)
        if refusal is not None:
            return refusal
        answer: HttpResponse
        try:
            answer = self.authorization_flow_token_response(request)
        except get_access_token_model().DoesNotExist:
            # The toolkit looks for what it has just made: a second use of the code has ended the grant meanwhile.
            answer = oauth_error("invalid_grant", "The grant has ended.")
        # The toolkit leaves them out of what is refused while tokens are saved.
        answer["Content-Type"], answer["Cache-Control"] = "application/json", "no-store"
        return _counted(request, answer)


class RevocationEndpoint(RevokeTokenView):  # type: ignore[misc]  # likewise
    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        refusal = _refuse_form(request) or refuse(request, address_requests)
        if refusal is not None:
            return refusal
        answer: HttpResponse = super().post(request, *args, **kwargs)
        return _counted(request, answer)


class ResourceMetadata(OAuthProtectedResourceMetadataView):  # type: ignore[misc]  # likewise
    """The same at `/.well-known/oauth-protected-resource` and below it for `/mcp`: there is one resource."""

    def get_resource(self, request: HttpRequest) -> str:
        return mcp_resource(request)

    def get_authorization_servers(self, request: HttpRequest) -> list[str]:
        return [issuer(request)]


def _refuse_form(request: HttpRequest) -> JsonResponse | None:
    """The refusal of what the toolkit or the database would not take, with the errors of RFC 6749, section 5.2."""
    if request.META.get("QUERY_STRING"):
        return oauth_error("invalid_request", "Send the parameters in the body.")
    if any("\0" in value for value in request.POST.values()):
        return oauth_error("invalid_request", "A parameter has a NUL character.")
    return None


def _counted(request: HttpRequest, answer: HttpResponse) -> HttpResponse:
    """A client that is unknown, or has another secret, is a wrong credential of its address; 429 beyond that limit."""
    is_wrong = answer.status_code == HTTPStatus.UNAUTHORIZED
    return (refuse(request, failures) if is_wrong else None) or answer


def refuse(request: HttpRequest, limit: Limit) -> JsonResponse | None:
    """The refusal of an address beyond its limit; else it is counted."""
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
