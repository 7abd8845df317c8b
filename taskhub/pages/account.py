"""`/settings/`: what an account changes of its own. Forms of plain HTML; each post leads back to the page.

A session that was begun with a token may see the page and revoke the account's tokens; password, sessions, streams and
mail are for sessions of the account.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any, Concatenate, Final, ParamSpec, cast
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.forms import PasswordChangeForm, SetPasswordForm
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from taskhub.auth.actor import Actor
from taskhub.auth.browser_sessions import browser_session_record, browser_sessions_of
from taskhub.auth.sign_in_limits import TooManyAttempts, attempt_begin, attempt_succeeded
from taskhub.auth.token_session import session_token
from taskhub.errors import Forbidden, NotFound
from taskhub.events.process_status import ALIVE_FOR
from taskhub.models import MailKind, MailPreference, StreamConnection
from taskhub.pages import THEME_COOKIE, THEMES
from taskhub.roles import Role, role_of
from taskhub.selectors.oauth_grants import grant_list_for
from taskhub.selectors.tokens import token_list_for
from taskhub.services.oauth_grants import host_of
from taskhub.services.own_account import own_mail_set, own_password_set, own_session_end, own_stream_end
from taskhub.services.tokens import token_revoke

P = ParamSpec("P")
_STREAMS_SHOWN: Final = 50
_YEAR_S: Final = 365 * 86_400


def own_page(
    *methods: str,
) -> Callable[[Callable[Concatenate[HttpRequest, P], HttpResponse]], Callable[..., HttpResponse]]:
    """Decorator: for the account that is signed in; others are asked to sign in, and led to the settings."""

    def decorated(view: Callable[Concatenate[HttpRequest, P], HttpResponse]) -> Callable[..., HttpResponse]:
        @wraps(view)
        def shown(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            if not request.user.is_authenticated:
                return redirect_to_login("/settings/")
            if role_of(request.user) < Role.VIEWER:
                raise PermissionDenied
            try:
                return view(request, *args, **kwargs)
            except Forbidden:
                raise PermissionDenied from None
            except NotFound:
                return redirect("settings")  # it has ended already

        return never_cache(require_http_methods(list(methods))(shown))

    return decorated


@own_page("GET", "HEAD")
def account_settings(request: HttpRequest) -> HttpResponse:
    return _shown(request, _password_form(request))


@sensitive_post_parameters()
@own_page("POST")
def password_change(request: HttpRequest) -> HttpResponse:
    """Asks for the present password, with the limits of the sign-in form, unless the account has none."""
    user = cast("User", request.user)
    form = _password_form(request, request.POST)
    if session_token(request) is not None:
        raise PermissionDenied
    try:
        attempt = attempt_begin(request, user.get_username())
        is_valid = form.is_valid()
        if "old_password" not in form.errors:
            attempt_succeeded(attempt)
    except TooManyAttempts as refused:
        limited = _shown(request, _password_form(request), HTTPStatus.TOO_MANY_REQUESTS, password_problem=str(refused))
        limited["Retry-After"] = str(refused.wait_s)
        return limited
    if not is_valid:
        return _shown(request, form, HTTPStatus.BAD_REQUEST)
    own_password_set(actor=_actor(request), password=form.cleaned_data["new_password1"])
    update_session_auth_hash(request, user)
    browser_session_record(request, user)
    return redirect("/settings/?done=password")


class ToldForm(forms.Form):
    email = forms.EmailField(required=False, max_length=254)
    kinds = forms.MultipleChoiceField(choices=MailKind.choices, required=False)

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if given.get("kinds") and not given.get("email") and not self.errors:
            raise forms.ValidationError("Enter the address to which mail is sent.")
        return given


@own_page("POST")
def told_change(request: HttpRequest) -> HttpResponse:
    form = ToldForm(request.POST)
    if not form.is_valid():
        errors = [error for each in form.errors.values() for error in each]
        return _shown(request, _password_form(request), HTTPStatus.BAD_REQUEST, told_errors=errors)
    own_mail_set(actor=_actor(request), email=form.cleaned_data["email"], kinds=form.cleaned_data["kinds"])
    return redirect("/settings/?done=told")


@own_page("POST")
def own_token_revoke(request: HttpRequest, token_id: UUID) -> HttpResponse:
    token_revoke(actor=_actor(request), public_id=token_id, owner=cast("User", request.user))
    return redirect("/settings/?done=token")


@own_page("POST")
def browser_session_end(request: HttpRequest, browser_session_id: UUID) -> HttpResponse:
    own_session_end(actor=_actor(request), session_id=browser_session_id)
    return redirect("/settings/?done=session")


@own_page("POST")
def stream_end(request: HttpRequest, stream_id: UUID) -> HttpResponse:
    own_stream_end(actor=_actor(request), stream_id=stream_id)
    return redirect("/settings/?done=stream")


@own_page("POST")
def theme_change(request: HttpRequest) -> HttpResponse:
    """Of this browser: a cookie, which the server reads, so that no page is first shown in the other one."""
    chosen = request.POST.get("theme", "")
    response = redirect("/settings/?done=theme")
    if chosen in THEMES:
        secure = bool(settings.SESSION_COOKIE_SECURE)
        response.set_cookie(THEME_COOKIE, chosen, max_age=_YEAR_S, secure=secure, httponly=True, samesite="Lax")
    else:
        response.delete_cookie(THEME_COOKIE, samesite="Lax")
    return response


_DONE: Final = {
    "password": "The password was changed. Other sessions of this account have ended.",
    "token": "The token was revoked.",
    "session": "The session has ended.",
    "stream": "The stream is being closed.",
    "theme": "The theme was changed.",
    "told": "Saved.",
}


def _shown(request: HttpRequest, form: Any, status: int = HTTPStatus.OK, **more: Any) -> HttpResponse:
    user = cast("User", request.user)
    streams = StreamConnection.objects.of_living(ALIVE_FOR).filter(account=user.get_username(), end_requested=False)
    context = {
        "form": form,
        "has_password": user.has_usable_password(),
        "token_session": session_token(request),
        "tokens": token_list_for(user=user),
        "grants": [(grant, host_of(getattr(grant.client, "client_id", ""))) for grant in grant_list_for(user=user)],
        "sessions": browser_sessions_of(user),
        "session_key": request.session.session_key,
        "streams": streams[:_STREAMS_SHOWN],
        "themes": {"": "as the system", **THEMES},
        "mail_on": bool(settings.EMAIL_HOST),
        "mail_kinds": _mail_kinds(user),
        "done": _DONE.get(request.GET.get("done", "")),
    }
    return render(request, "settings.html", context | more, status=status)


def _mail_kinds(user: User) -> list[tuple[str, str, bool]]:
    """Value, label, and whether the account wants it."""
    wanted = MailPreference.objects.filter(user=user).first()
    return [(kind.value, kind.label, bool(getattr(wanted, kind.value, False))) for kind in MailKind]


def _password_form(request: HttpRequest, data: Any = None) -> Any:
    user = cast("User", request.user)
    form = PasswordChangeForm if user.has_usable_password() else SetPasswordForm
    made = form(user, data)
    for field in made.fields.values():
        field.widget.attrs.pop("autofocus", None)
    made.fields["new_password2"].help_text = ""  # the page shows that of the first alone
    return made


def _actor(request: HttpRequest) -> Actor:
    return Actor(door="rest", user=cast("User", request.user), token=session_token(request))
