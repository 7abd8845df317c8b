"""Browser sessions of an account: recorded at each sign-in, listed while Django's own row lives."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.models import Session
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from taskhub.auth.rate_limits import address_of
from taskhub.auth.token_session import end_limit
from taskhub.models import ApiToken, BrowserSession
from taskhub.models.browser_session import BROWSER_LENGTH


def connect() -> None:
    user_logged_in.connect(_at_sign_in, dispatch_uid="taskhub.auth.browser_sessions")


def _at_sign_in(request: HttpRequest, user: User, **_: Any) -> None:
    end_limit(request)  # first: it may change the session's key
    browser_session_record(request, user)


def browser_session_record(request: HttpRequest, user: User, token: ApiToken | None = None) -> None:
    """Record the request's session as the account's; anew where its key has changed."""
    if not request.session.session_key:
        request.session.save()
    recorded = {
        "user": user,
        "token": token,
        "address": address_of(request)[:45],
        "browser": request.headers.get("User-Agent", "")[:BROWSER_LENGTH],
    }
    BrowserSession.objects.update_or_create(session_key=request.session.session_key, defaults=recorded)


def browser_sessions_of(user: User) -> QuerySet[BrowserSession]:
    """The account's open sessions, newest first."""
    living = Session.objects.filter(session_key=OuterRef("session_key"), expire_date__gt=timezone.now())
    return BrowserSession.objects.filter(Exists(living), user=user).select_related("token").order_by("-begun_at", "-id")


def browser_sessions_trim() -> None:
    """Delete the sessions that have expired, and what was recorded of those that are gone."""
    Session.objects.filter(expire_date__lt=timezone.now()).delete()
    gone = ~Exists(Session.objects.filter(session_key=OuterRef("session_key")))
    BrowserSession.objects.filter(gone).delete()
