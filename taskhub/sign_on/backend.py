"""Authentication backend of sign-on: checks the provider's id token, and finds or makes the account.

The library checks neither audience, issuer nor clock of an id token, nor that the user information is about the same
subject; this does, with a minute's tolerance for clocks that differ.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import jwt
from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest
from mozilla_django_oidc.auth import OIDCAuthenticationBackend

from taskhub.auth.backends import AccountBackend
from taskhub.roles import ROLES, Role
from taskhub.services.sign_on import Identity, sign_on_account
from taskhub.sign_on.discovery import library_setting

log = logging.getLogger(__name__)

SKEW_S: Final = 60
_REQUIRED: Final = ["iss", "sub", "aud", "exp", "iat"]


class SignOnBackend(OIDCAuthenticationBackend):  # type: ignore[misc]  # the library has no types
    def __init__(self) -> None:
        """Nothing is asked of the provider here: Django makes a backend for each request of a session."""

    @staticmethod
    def get_settings(attr: str, *args: Any) -> Any:
        return library_setting(attr, *args)

    def authenticate(
        self, request: HttpRequest | None, *, nonce: str | None = None, code_verifier: str | None = None
    ) -> User | None:
        """Raises ProviderTrouble, requests' errors, SuspiciousOperation, Forbidden, Invalid."""
        if request is None or not nonce:
            return None
        super().__init__()
        found: User | None = super().authenticate(request, nonce=nonce, code_verifier=code_verifier)
        return found

    def get_user(self, user_id: int) -> User | None:
        return AccountBackend().get_user(user_id)

    def _verify_jws(self, payload: str, key: Any) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                payload,
                key,
                algorithms=[self.OIDC_RP_SIGN_ALGO],
                audience=self.OIDC_RP_CLIENT_ID,
                issuer=settings.TASKHUB_OIDC_ISSUER,
                leeway=SKEW_S,
                options={"require": _REQUIRED},
            )
        except jwt.InvalidTokenError as error:
            raise SuspiciousOperation(f"The id token is refused: {error}") from None
        return claims

    def get_userinfo(self, access_token: str, id_token: str, payload: dict[str, Any]) -> dict[str, Any]:
        """The id token's claims, with those of the user information where the provider has it."""
        if not self.OIDC_OP_USER_ENDPOINT:
            return payload
        told: dict[str, Any] = super().get_userinfo(access_token, id_token, payload)
        if told.get("sub") != payload["sub"]:
            raise SuspiciousOperation("The user information is about another subject than the id token.")
        return {**payload, **told}

    def get_or_create_user(self, access_token: str, id_token: str, payload: dict[str, Any]) -> User | None:
        identity = identity_of(self.get_userinfo(access_token, id_token, payload))
        user = sign_on_account(identity)
        if user is None:
            log.info("sign-on refused: no group of %s has a role", identity.name)
        return user


def identity_of(claims: dict[str, Any]) -> Identity:
    """Raises SuspiciousOperation without a name."""
    name = str(claims.get(settings.TASKHUB_OIDC_NAME_CLAIM) or "")
    if not name:
        raise SuspiciousOperation(f"The provider sends no claim {settings.TASKHUB_OIDC_NAME_CLAIM}.")
    email = str(claims.get("email") or "") if claims.get("email_verified", True) else ""
    return Identity(settings.TASKHUB_OIDC_ISSUER, str(claims["sub"]), name[:150], email[:254], role_of_claims(claims))


def role_of_claims(claims: dict[str, Any]) -> Role:
    """The highest role of the groups, by the table of the settings; else the default one."""
    groups = claims.get(settings.TASKHUB_OIDC_GROUPS_CLAIM) or []
    named = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
    given = [settings.TASKHUB_OIDC_ROLES[group] for group in map(str, named) if group in settings.TASKHUB_OIDC_ROLES]
    usual = ROLES.get(settings.TASKHUB_OIDC_DEFAULT_ROLE, Role.NOBODY)
    return max([ROLES[role] for role in given], default=usual)
