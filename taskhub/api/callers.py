"""Who asks a plain Django view; above all who opens a stream, and what the stream will stand on: a token, a session, a
ticket, or nothing where reading is open."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.db import SessionStore
from django.db.models import F, FilteredRelation, Q
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import AuthenticationFailed, Throttled

from taskhub.api.authentication import count_failure, credentials_of, has_expired
from taskhub.api.errors import auth_code, error_response
from taskhub.api.token_lookups import bearer_token, token_lookups
from taskhub.auth.rate_limits import network_of
from taskhub.errors import (
    HOW_TO_AUTHENTICATE,
    Forbidden,
    HubError,
    NotAuthenticated,
    TooManyFailures,
    error_body,
)
from taskhub.events.revocation import StreamCredential
from taskhub.events.tickets import BadTicket, StreamKind, Ticket, read_ticket_for
from taskhub.models import ApiToken
from taskhub.observability.log_context import bind_caller
from taskhub.roles import Caller, Role, know_role, role_of
from taskhub.web.origin_check import STREAM_REFUSAL, ForeignOrigin, PageOrigin, page_origin
from taskhub.web.thread_pool import with_database

_READING: Final = ("GET", "HEAD")
_FALLEN: Final = "The session or token that made the ticket is no longer valid; make a new ticket."


async def read_caller(
    request: HttpRequest, kind: StreamKind | None, **inside: Any
) -> tuple[Caller, StreamCredential | None]:
    """The caller, if they may read, and what their stream stands on. `kind`: of the tickets that are taken.

    `inside` is what the path holds. Pages of other origins are never known by a cookie. Raises NotAuthenticated,
    Forbidden, ForeignOrigin, BadTicket, Invalid, TooManyFailures.
    """
    origin = page_origin(request)
    # Only a request with credentials costs a query, and with it a thread; those with a token share both.
    if not _shows_credentials(request, cookies=origin.may_use_cookies):
        caller: Caller = AnonymousUser()
        credential = None
    elif (shown := await token_lookups.get().find(bearer_token(request))) is not None:
        caller, token = shown
        bind_caller(caller)
        credential = _credential(caller, token_id=token.public_id)
    else:
        resolve = partial(_resolve, request, kind, inside, cookies=origin.may_use_cookies)
        caller, credential = await with_database(resolve)
    if credential is None:
        _guard_open_reading(origin)
    _guard_reading(caller)
    return caller, credential


def _guard_open_reading(origin: PageOrigin) -> None:
    """A page of another origin needs credentials of its own. Raises ForeignOrigin."""
    if origin is PageOrigin.FOREIGN or (origin is PageOrigin.LOOPBACK and not settings.TASKHUB_OPEN_READING):
        raise ForeignOrigin(STREAM_REFUSAL)


def readers_only(view: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """The same question before a plain Django view that only reads; any other method is a 405."""

    @wraps(view)
    def answered(request: HttpRequest) -> HttpResponse:
        if request.method not in _READING:
            body = error_body("method_not_allowed", f"Must be one of: {', '.join(_READING)}.")
            return JsonResponse(body, status=405, headers={"Allow": ", ".join(_READING)})
        try:
            caller, _ = _resolve(request, None, {})
            _guard_reading(caller)
            return view(request)
        except HubError as error:
            return error_response(error)

    # It changes nothing; a wrong method is a 405 and not a question of CSRF.
    return csrf_exempt(answered)


def _guard_reading(caller: Caller) -> None:
    if role_of(caller) >= Role.VIEWER:
        return
    if caller.is_authenticated:
        raise Forbidden("Reading takes the role viewer; your account has none.")
    raise NotAuthenticated(HOW_TO_AUTHENTICATE)


def _shows_credentials(request: HttpRequest, *, cookies: bool) -> bool:
    if "HTTP_AUTHORIZATION" in request.META or "ticket" in request.GET:
        return True
    return cookies and settings.SESSION_COOKIE_NAME in request.COOKIES


def _resolve(
    request: HttpRequest, kind: StreamKind | None, inside: dict[str, Any], *, cookies: bool = True
) -> tuple[Caller, StreamCredential | None]:
    """A token in the header counts first, then a ticket, then, with `cookies`, the session."""
    try:
        if "ticket" in request.GET and "HTTP_AUTHORIZATION" not in request.META:
            return _by_ticket(request, kind, inside)
        user, token = credentials_of(request)
    except AuthenticationFailed as error:
        raise NotAuthenticated(str(error.detail), code=auth_code(error)) from None
    except Throttled as error:
        raise TooManyFailures(str(error.detail), retry_after_s=getattr(error, "wait", None)) from None
    shown = {"token_id": token.public_id if token is not None else None}
    if isinstance(user, User) and user is not request.user:
        return user, _credential(user, **shown)
    if not cookies or not isinstance(user, User) or not user.is_authenticated:
        return AnonymousUser(), None
    return user, _credential(user, session_key=request.session.session_key or "", password=user.password, **shown)


def _by_ticket(
    request: HttpRequest, kind: StreamKind | None, inside: dict[str, Any]
) -> tuple[Caller, StreamCredential]:
    if kind is None:
        raise BadTicket("Tickets are not accepted here; send a token.")
    try:
        ticket = read_ticket_for(request.GET["ticket"], kind, kind.asked(request.GET, **inside))
        user = _owner_of(ticket)
        _guard_session(ticket, user)
    except BadTicket:
        count_failure(request)
        raise
    bind_caller(user)
    shown = {"session_key": ticket.session_key, "password": user.password} if ticket.session_key else {}
    return user, _credential(user, token_id=ticket.token_id, **shown)


def _guard_session(ticket: Ticket, user: User) -> None:
    """A session that has ended, or whose account has another password by now, opens nothing. Raises BadTicket."""
    if not ticket.session_key:
        return
    session = SessionStore(ticket.session_key)
    opened_with = session.get(HASH_SESSION_KEY, "")
    if session.get(SESSION_KEY) != str(user.pk) or not constant_time_compare(opened_with, user.get_session_auth_hash()):
        raise BadTicket(_FALLEN)


def _owner_of(ticket: Ticket) -> User:
    """The account, if the ticket's token still is what it was, in one query. Raises BadTicket."""
    rows = list(
        User.objects.filter(pk=ticket.user_id, is_active=True)
        .annotate(shown=FilteredRelation("auth_token_set", condition=Q(auth_token_set__public_id=ticket.token_id)))
        .annotate(group=F("groups__name"), shown_id=F("shown__public_id"), shown_expiry=F("shown__expiry"))
        .annotate(shown_role=F("shown__role"))
    )
    if not rows or rows[0].shown_id != ticket.token_id or has_expired(ApiToken(expiry=rows[0].shown_expiry)):
        raise BadTicket(_FALLEN)
    return know_role(rows[0], [row.group for row in rows], rows[0].shown_role or "")


def _credential(user: User, **shown: object) -> StreamCredential:
    return StreamCredential(user.pk, user.get_username(), role_of(user), **shown)  # type: ignore[arg-type]


def caller_key(request: HttpRequest, caller: Caller) -> str:
    """Whose streams are counted together: an account's, or an address's."""
    return f"user:{caller.pk}" if caller.is_authenticated else f"address:{network_of(request)}"
