"""Pages of sign-on: to the provider, back from it, and the sign-out there."""

from __future__ import annotations

import logging
from datetime import timedelta
from http import HTTPStatus
from math import ceil
from threading import BoundedSemaphore
from typing import Any, Final
from urllib.parse import urlencode

import requests
from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.views import LogoutView
from django.core.exceptions import SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from jwt import PyJWTError
from mozilla_django_oidc.views import OIDCAuthenticationCallbackView, OIDCAuthenticationRequestView

from taskhub.auth.rate_limits import Limit, network_of, whose_address
from taskhub.auth.token_session import session_token
from taskhub.errors import HubError
from taskhub.sign_on.discovery import ProviderTrouble, discovered, forget, library_setting

log = logging.getLogger(__name__)

_ID_TOKEN = "oidc_id_token"  # noqa: S105 - the library's key in a session
_REFUSED = "The provider's answer was refused, or none of your groups has a role here. Try again, or ask an operator."
_AWAY = "The provider does not answer. Try again later; an operator has another way in."
_BUSY = "Several people are signing in just now. This page reloads itself; else reload it in a moment."
_BUSY_S: Final = 2

sign_ons: Final = Limit(lambda: 60)
"""Per address, of browsers that are not signed in: each may leave a row of a session."""
_asking: Final = BoundedSemaphore(2)
"""Callbacks that ask the provider: where it does not answer, each holds a web thread for as long as its time limits."""


@method_decorator(never_cache, name="dispatch")
class SignOnView(OIDCAuthenticationRequestView):  # type: ignore[misc]  # the library has no types
    def __init__(self, **kwargs: Any) -> None:
        super(OIDCAuthenticationRequestView, self).__init__(**kwargs)  # the library's asks the provider already here

    @staticmethod
    def get_settings(attr: str, *args: Any) -> Any:
        return library_setting(attr, *args)

    def get(self, request: HttpRequest) -> HttpResponseBase:
        _guard_on()
        refusal = _refuse_beyond_limit(request)
        if refusal is not None:
            return refusal
        try:
            self.OIDC_OP_AUTH_ENDPOINT = self.get_settings("OIDC_OP_AUTHORIZATION_ENDPOINT")
        except ProviderTrouble as error:
            return _failed(request, error, _AWAY, HTTPStatus.BAD_GATEWAY)
        self.OIDC_RP_CLIENT_ID = self.get_settings("OIDC_RP_CLIENT_ID")
        found: HttpResponseBase = super().get(request)
        return found


@method_decorator(never_cache, name="dispatch")
class SignOnCallbackView(OIDCAuthenticationCallbackView):  # type: ignore[misc]  # likewise
    @staticmethod
    def get_settings(attr: str, *args: Any) -> Any:
        return library_setting(attr, *args)

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """An error of the provider, and what is no answer at all, changes nothing here but the state that it names."""
        _guard_on()
        if request.GET.get("error") or not (request.GET.get("code") and request.GET.get("state")):
            if _use_up_state(request):
                log.info("sign-on refused by the provider: %s", request.GET.get("error", "")[:100])
            return self.login_failure()
        if not _asking.acquire(blocking=False):
            response = _failed(request, None, _BUSY, HTTPStatus.SERVICE_UNAVAILABLE, retry_after_s=_BUSY_S)
            response["Refresh"] = str(_BUSY_S)  # the state is not used up: the browser's own reload goes on
            return response
        try:
            return self._ask(request)
        finally:
            _asking.release()

    def _ask(self, request: HttpRequest) -> HttpResponseBase:
        try:
            found: HttpResponseBase = super().get(request)
        except HubError as error:
            return _failed(request, error, error.message, HTTPStatus.FORBIDDEN)
        except (ProviderTrouble, requests.ConnectionError, requests.Timeout) as error:
            forget()
            return _failed(request, error, _AWAY, HTTPStatus.BAD_GATEWAY)
        except (requests.RequestException, SuspiciousOperation, PyJWTError, KeyError, TypeError, ValueError) as error:
            return _failed(request, error, _REFUSED, HTTPStatus.BAD_REQUEST)
        return found

    def login_failure(self) -> HttpResponse:
        return _failed(self.request, None, _REFUSED, HTTPStatus.FORBIDDEN)

    def login_success(self) -> HttpResponseBase:
        if session_token(self.request) is not None:
            # The library signs in only where the account is another one: a token's session would stay one.
            login(self.request, self.user)
        found: HttpResponseBase = super().login_success()
        # What the provider has taken away since counts from the next sign-in on. A number of seconds would begin anew
        # with each change of the session.
        latest = timezone.now() + timedelta(hours=settings.TASKHUB_OIDC_SESSION_HOURS)
        self.request.session.set_expiry(latest)
        return found


class SignOutView(LogoutView):
    """Ends the session here, then at the provider, where it was begun there and the provider has an address for it."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        hint = request.session.get(_ID_TOKEN) if settings.TASKHUB_OIDC_ISSUER else None
        response: HttpResponse = super().post(request, *args, **kwargs)
        address = _end_session() if hint else ""
        if not address:
            return response
        back = {"id_token_hint": hint, "post_logout_redirect_uri": request.build_absolute_uri("/")}
        return HttpResponseRedirect(f"{address}{'&' if '?' in address else '?'}{urlencode(back)}")


def _end_session() -> str:
    try:
        return str(discovered().get("end_session_endpoint") or "")
    except ProviderTrouble:
        return ""  # the session here has ended


def _guard_on() -> None:
    if not settings.TASKHUB_OIDC_ISSUER:
        raise Http404


def _refuse_beyond_limit(request: HttpRequest) -> HttpResponse | None:
    if request.user.is_authenticated:
        return None
    wait_s = sign_ons.wait_s(network_of(request))
    if wait_s > 0:
        words = f"Too many sign-ins from {whose_address()}; wait {ceil(wait_s)} s."
        return _failed(request, None, words, HTTPStatus.TOO_MANY_REQUESTS, retry_after_s=wait_s)
    sign_ons.count(network_of(request))
    return None


def _use_up_state(request: HttpRequest) -> bool:
    """Whether the browser began a sign-in with the state of the request, which ends with this."""
    states = request.session.get("oidc_states", {})
    if states.pop(request.GET.get("state", ""), None) is None:
        return False
    request.session["oidc_states"] = states
    return True


def _failed(
    request: HttpRequest, error: Exception | None, words: str, status: int, *, retry_after_s: float = 0.0
) -> HttpResponse:
    if error is not None:
        log.warning("sign-on failed: %s: %s", type(error).__name__, error)
    response = render(request, "registration/sign_on_failed.html", {"words": words}, status=status)
    if retry_after_s:
        response["Retry-After"] = str(ceil(retry_after_s))
    return response
