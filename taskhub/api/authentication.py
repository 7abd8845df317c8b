"""Authentication of REST and MCP: a knox token in `Authorization: Bearer …`, or a Django session."""

from __future__ import annotations

from hmac import compare_digest
from typing import Any, Final

from django.contrib.auth.models import AnonymousUser, User
from django.db import connection
from django.db.models import CharField
from django.http import HttpRequest
from django.utils import timezone
from drf_spectacular import authentication as spectacular
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from knox.auth import TokenAuthentication
from knox.crypto import hash_token
from knox.settings import CONSTANTS
from rest_framework import authentication
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.request import Request

from taskhub.auth.rate_limits import failures, network_of, whose_address
from taskhub.auth.token_session import session_token
from taskhub.auth.token_use import tokens_note_use
from taskhub.errors import HOW_TO_AUTHENTICATE
from taskhub.lib.compiled_sql import GIVEN, Lookup
from taskhub.models import ApiToken, EndedToken
from taskhub.models.token import OAUTH_ACCESS_PREFIX
from taskhub.observability.log_context import bind_caller
from taskhub.roles import know_role

_KEY_LENGTH: Final = int(CONSTANTS.TOKEN_KEY_LENGTH)
# In the order of the models' own fields, as `from_db` takes them.
_TOKEN: Final = ("digest", "token_key", "expiry", "public_id", "name", "role", "last_used_at")
_ACCOUNT: Final = ("id", "is_superuser", "username", "is_staff", "is_active")
_SHOWN: Final = Lookup(
    ApiToken.objects.filter(token_key=GIVEN, user__is_active=True).values_list(
        *_TOKEN, *(f"user__{name}" for name in _ACCOUNT), "user__groups__name"
    ),
    CharField(),
)
"""The tokens that begin so, each with its account: one row per group of the account."""


class BearerAuthentication(TokenAuthentication):  # type: ignore[misc]  # knox has no types
    """knox's, in one query that brings the account and its role along, and with a limit on failures per address.

    The database is asked for the first 15 characters, which are no secret; the rest is compared in constant time. What
    is not even letters and digits is a wrong token, and not a crash of the database. Expired tokens are refused here
    and deleted by a beat job; knox would look at all tokens of the user at every request.
    """

    def authenticate(self, request: HttpRequest) -> tuple[User, ApiToken] | None:
        """A right token always passes, whatever else its address sends.

        Raises AuthenticationFailed, and Throttled for an address that failed too often in this minute.
        """
        if "HTTP_AUTHORIZATION" not in request.META:
            return None
        try:
            found: tuple[User, ApiToken] | None = super().authenticate(request)
        except AuthenticationFailed as error:
            if not isinstance(error, OutdatedCredential):
                count_failure(request)
            if type(error) is AuthenticationFailed:  # knox's own, of a header that holds no token
                raise WrongCredential from None
            raise
        if found is not None:
            bind_caller(found[0])
        return found

    def authenticate_credentials(self, token: bytes) -> tuple[User, ApiToken]:
        if token.startswith(OAUTH_ACCESS_PREFIX.encode()):
            raise _ForMcpOnly
        if not token.isalnum():
            raise WrongCredential
        found = token_find(token.decode("ascii"))
        if found is None:
            raise _why_it_fails(hash_token(token.decode("ascii")))
        if has_expired(found[1]):
            raise _Expired
        tokens_note_use([found[1]])
        return found


def token_find(text: str) -> tuple[User, ApiToken] | None:
    """The account and the token, which may have expired; None for one that no active account has."""
    digest = hash_token(text)
    rows = [row for row in _SHOWN.rows(text[:_KEY_LENGTH]) if compare_digest(digest, row[0])]
    if not rows:
        return None
    shown = ApiToken.from_db(connection.alias, _TOKEN, rows[0][: len(_TOKEN)])
    shown.user = User.from_db(connection.alias, _ACCOUNT, rows[0][len(_TOKEN) : -1])
    return know_role(shown.user, [row[-1] for row in rows], shown.role), shown


class SessionAuthentication(authentication.SessionAuthentication):
    """DRF's. A session that was begun with a token acts with that token, as an agent."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken | None] | None:
        found = super().authenticate(request)
        if found is None:
            return None
        return found[0], session_token(request._request)  # noqa: SLF001 - DRF's name for Django's request


def token_check(request: HttpRequest, text: str) -> tuple[User, ApiToken]:
    """The account of a token that was entered in a form, and the token.

    A wrong one counts as a wrong credential of the client's address. Raises AuthenticationFailed; Throttled.
    """
    try:
        found: tuple[User, ApiToken] = BearerAuthentication().authenticate_credentials(text.encode())
    except AuthenticationFailed:
        count_failure(request)
        raise
    return found


class WrongCredential(AuthenticationFailed):
    default_detail = f"The token is wrong. {HOW_TO_AUTHENTICATE}"


class OutdatedCredential(AuthenticationFailed):
    """It was right once, so it is no guess and not counted as one: an OAuth client shows it before it refreshes."""


class _ForMcpOnly(OutdatedCredential):
    default_detail = "An OAuth access token opens /mcp only; send an API token here."


class _Expired(AuthenticationFailed):
    default_detail = f"The token has expired; make a new one. {HOW_TO_AUTHENTICATE}"
    default_code = "token_expired"


class _Revoked(AuthenticationFailed):
    default_detail = f"The token was revoked; use another one. {HOW_TO_AUTHENTICATE}"
    default_code = "token_revoked"


class _Disabled(AuthenticationFailed):
    default_detail = "The account of this token is disabled; ask an operator."
    default_code = "account_disabled"


def _why_it_fails(digest: str) -> AuthenticationFailed:
    """Told only to the bearer of the whole token, by its digest."""
    ended = EndedToken.objects.filter(digest=digest).first()
    if ended is not None:
        return _Expired() if ended.expired else _Revoked()
    return _Disabled() if ApiToken.objects.filter(digest=digest).exists() else WrongCredential()


def has_expired(token: ApiToken) -> bool:
    return token.expiry is not None and token.expiry < timezone.now()


def refuse_guessing(request: HttpRequest) -> None:
    """Raises Throttled for an address that showed too many wrong credentials in this minute."""
    wait_s = failures.wait_s(network_of(request))
    if wait_s > 0:
        raise Throttled(wait_s, f"Too many wrong credentials from {whose_address()}; wait for Retry-After seconds.")


def count_failure(request: HttpRequest) -> None:
    """Count a wrong credential. Raises Throttled where its address is beyond the limit already."""
    refuse_guessing(request)
    failures.count(network_of(request))


class SessionScheme(spectacular.SessionScheme):  # type: ignore[no-untyped-call]  # as below
    target_class = "taskhub.api.authentication.SessionAuthentication"


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # the library's base has no types
    target_class = BearerAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:  # noqa: ARG002 - the library's interface
        return {"type": "http", "scheme": "bearer"}


def credentials_of(request: HttpRequest) -> tuple[User | AnonymousUser, ApiToken | None]:
    """The caller of a plain Django view and the token they showed or began their session with.

    Raises AuthenticationFailed for a bad token; Throttled.
    """
    found = BearerAuthentication().authenticate(request)
    if found is not None:
        return found
    user: User | AnonymousUser = request.user
    return user, session_token(request)


def user_of(request: HttpRequest) -> User | AnonymousUser:
    """The caller alone. Raises AuthenticationFailed; Throttled."""
    return credentials_of(request)[0]
