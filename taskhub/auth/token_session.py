"""Token sessions: a browser session that was begun with an API token, and may do what that token may.

1. The session names the token, by its public id, and ends no later than it.
2. Each request of the session looks the token up: one that was revoked or has expired ends the session. The account's
   role is limited to the token's.
3. The session acts with the token: as an agent, under the token's name. Pasting a token gives no power beyond it, so
   the admin is closed (what is made there outlives the token), and neither password nor sessions can be changed.
4. Streams and tickets of the session stand on both, session and token (`events/revocation.py`).
5. Its backend is one of its own (`TOKEN_BACKEND`): a release that knows no token sessions refuses it.

A sign-in by password or link makes it a session of the account.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any, Final, cast

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_user, login
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from taskhub.auth.token_use import tokens_note_use
from taskhub.models import ApiToken
from taskhub.roles import Caller, know_limit

TOKEN_BACKEND: Final = "taskhub.auth.backends.TokenSessionBackend"  # noqa: S105 - an address in the settings
_KEY: Final = "taskhub_token"
_TOKEN: Final = "_taskhub_session_token"  # noqa: S105 - the name of an attribute


def token_session_begin(request: HttpRequest, user: User, token: ApiToken) -> None:
    """Sign the browser in as the token's account, for as long as the token is valid, at most as long as a password."""
    login(request, user, backend=TOKEN_BACKEND)
    request.session[_KEY] = token.public_id.hex
    latest = timezone.now() + timedelta(seconds=settings.SESSION_COOKIE_AGE)
    request.session.set_expiry(latest if token.expiry is None else min(token.expiry, latest))


def session_token(request: HttpRequest) -> ApiToken | None:
    """The token that the request's session was begun with; None for a session of the account, and without one."""
    return cast("ApiToken | None", getattr(request.user, _TOKEN, None))


class SessionAccounts(AuthenticationMiddleware):
    """Django's middleware; the account of a token's session is limited to the token."""

    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        known = SimpleLazyObject(partial(_account_of, request))
        request.user = cast("User", known)
        request.auser = sync_to_async(lambda: _loaded(known))


def _account_of(request: HttpRequest) -> Caller:
    """The account of the session. A session whose token is no longer valid ends here."""
    user = get_user(request)
    if not isinstance(user, User) or _KEY not in request.session:
        return user if isinstance(user, User) else AnonymousUser()
    token = ApiToken.objects.filter(public_id=request.session[_KEY], user=user).first()
    if token is None or (token.expiry is not None and token.expiry <= timezone.now()):
        request.session.flush()
        return AnonymousUser()
    tokens_note_use([token])
    know_limit(user, token.role)
    setattr(user, _TOKEN, token)
    return user


def _loaded(known: Any) -> Any:
    bool(known)  # loads it
    return known


def end_limit(request: HttpRequest) -> None:
    """At a sign-in: what was the session of a token is one of the account from now on."""
    if request.session.pop(_KEY, None) is not None:
        request.session.set_expiry(None)
        request.session.cycle_key()  # the power of the session grows
