"""Dynamic client registration (RFC 7591): `/oauth/register`, without a sign-in and with a rate limit.

Public and confidential clients, with the code grant only. There is no management of registrations (RFC 7592): a client
that changes registers anew, and clients without a grant are deleted after a day (`oauth_trim`).
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from oauth2_provider.settings import oauth2_settings

from taskhub.auth.rate_limits import Limit
from taskhub.oauth.endpoints import oauth_error, refuse
from taskhub.oauth.redirects import BadRedirect, guard_redirects
from taskhub.services.oauth_grants import client_register

registrations: Final = Limit(lambda: settings.TASKHUB_OAUTH_REGISTRATIONS_PER_MINUTE)
_GRANTS: Final = frozenset({"authorization_code", "refresh_token"})
_NAME_LENGTH: Final = 100
_BODY_BYTES: Final = 16 * 1024
_PUBLIC: Final = "none"


@method_decorator(csrf_exempt, name="dispatch")  # it uses no cookies
class RegistrationEndpoint(View):
    """Not the toolkit's: that one hands out a token which changes the registration past our checks."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        if not oauth2_settings.DCR_ENABLED:
            raise Http404
        refusal = refuse(request, registrations)
        if refusal is not None:
            return refusal
        try:
            metadata = _read(request)
            guard_client(metadata)
            method = _method_of(metadata)
        except BadRedirect as error:
            return oauth_error("invalid_redirect_uri", str(error))
        except ValueError as error:
            return oauth_error("invalid_client_metadata", str(error))
        client, secret = client_register(
            name=metadata.get("client_name", ""),
            redirect_uris=metadata["redirect_uris"],
            is_public=method == _PUBLIC,
        )
        told = {
            "client_id": client.client_id,
            "client_id_issued_at": int(client.created.timestamp()),
            "client_name": client.name,
            "redirect_uris": metadata["redirect_uris"],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": method,
        }
        if secret:
            told |= {"client_secret": secret, "client_secret_expires_at": 0}  # it does not expire
        return JsonResponse(told, status=HTTPStatus.CREATED, headers={"Cache-Control": "no-store"})


def guard_client(metadata: Any) -> None:
    """Raises ValueError for what no client may be, BadRedirect for its redirect addresses."""
    if not isinstance(metadata, dict):
        raise ValueError("The metadata must be an object.")  # noqa: TRY004 - a value of the caller's
    grants = metadata.get("grant_types", ["authorization_code"])
    if not isinstance(grants, list) or not set(map(str, grants)) <= _GRANTS:
        raise ValueError("grant_types must be authorization_code and refresh_token.")
    responses = metadata.get("response_types", ["code"])
    if responses != ["code"]:
        raise ValueError("response_types must be code.")
    name = metadata.get("client_name", "")
    if not isinstance(name, str) or len(name) > _NAME_LENGTH or not (name.isprintable() or not name):
        raise ValueError(f"client_name must be a text of at most {_NAME_LENGTH} printable characters.")
    guard_redirects(metadata.get("redirect_uris"))


def _read(request: HttpRequest) -> Any:
    if len(request.body) > _BODY_BYTES:
        raise ValueError(f"The metadata may have at most {_BODY_BYTES} bytes.")
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError):
        raise ValueError("The body must be JSON.") from None


def _method_of(metadata: dict[str, Any]) -> str:
    """How the client proves itself at the token endpoint. Raises ValueError."""
    method = metadata.get("token_endpoint_auth_method", "client_secret_basic")
    known = oauth2_settings.OAUTH2_TOKEN_ENDPOINT_AUTH_METHODS_SUPPORTED
    if method not in known:
        raise ValueError(f"token_endpoint_auth_method must be one of: {', '.join(known)}.")
    return str(method)
