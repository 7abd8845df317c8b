"""Who calls: a knox token in `Authorization: Bearer …`, or a Django session."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from knox.auth import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed

from taskhub.models import ApiToken


class BearerAuthentication(TokenAuthentication):  # type: ignore[misc]  # knox has no types
    """knox's, except that what is not even letters and digits is a wrong token, and not a crash of the database."""

    def authenticate_credentials(self, token: bytes) -> Any:
        if not token.isalnum():
            raise AuthenticationFailed
        return super().authenticate_credentials(token)

    def _cleanup_token(self, auth_token: ApiToken) -> bool:
        """Whether it has expired. knox would look at all tokens of the user, at every request; a beat job does that."""
        return auth_token.expiry is not None and auth_token.expiry < timezone.now()


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # the library's base has no types
    target_class = BearerAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:  # noqa: ARG002 - the library's interface
        return {"type": "http", "scheme": "bearer"}


def user_of(request: HttpRequest) -> User | AnonymousUser:
    """The caller of a plain Django view, by the same two ways as REST. Raises AuthenticationFailed for a bad token."""
    if "HTTP_AUTHORIZATION" in request.META:
        found = BearerAuthentication().authenticate(request)
        if found is not None:
            return found[0]  # type: ignore[no-any-return]
    user: User | AnonymousUser = request.user
    return user
