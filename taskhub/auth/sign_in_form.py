"""Sign-in forms: 429 with "Too many attempts" at a limit, and the device cookie after a sign-in."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from taskhub.auth.sign_in_limits import TooManyAttempts, device_remember
from taskhub.auth.token_session import session_token


class LimitedSignIn:
    """Mixin of Django's form: a limit is told as what it is, not as a wrong password."""

    wait_s = 0

    def clean(self) -> Any:
        try:
            return super().clean()  # type: ignore[misc]  # a form's
        except TooManyAttempts as refused:
            self.wait_s = refused.wait_s
            raise ValidationError(str(refused), code="too_many_attempts") from None


class SignInForm(LimitedSignIn, AuthenticationForm):
    error_messages = AuthenticationForm.error_messages | {
        "invalid_login": "The account or the password is wrong. Capital letters count in both."
    }


def with_limits(request: HttpRequest, response: HttpResponseBase, form: Any) -> HttpResponseBase:
    """The response to a sign-in form: a 429 where a limit was reached, a device cookie where it signed in."""
    wait_s = getattr(form, "wait_s", 0)
    if wait_s:
        response.status_code = HTTPStatus.TOO_MANY_REQUESTS
        response["Retry-After"] = str(wait_s)
    elif request.method == "POST" and response.status_code == HTTPStatus.FOUND and isinstance(request.user, User):
        device_remember(request, response, request.user)
    return response


class SignInView(LoginView):
    authentication_form = SignInForm

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Who is signed in is led on. A token's session becomes one of the account here."""
        self.redirect_authenticated_user = session_token(request) is None
        return super().dispatch(request, *args, **kwargs)

    def get_redirect_url(self) -> str:  # type: ignore[override]  # the stub is of another view
        """Not this page itself: it would lead to itself who is signed in."""
        wanted: str = super().get_redirect_url()
        return "" if wanted == self.request.path else wanted

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        response = super().form_invalid(form)
        with_limits(self.request, response, form)
        return response

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        response = super().form_valid(form)
        with_limits(self.request, response, form)
        return response
