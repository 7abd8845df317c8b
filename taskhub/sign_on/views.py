"""Pages of sign-on: to the provider, back from it, and the sign-out there."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import requests
from django.conf import settings
from django.contrib.auth.views import LogoutView
from django.core.exceptions import SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from jwt import PyJWTError
from mozilla_django_oidc.views import OIDCAuthenticationCallbackView, OIDCAuthenticationRequestView

from taskhub.errors import HubError
from taskhub.sign_on.discovery import ProviderTrouble, discovered, forget, library_setting

log = logging.getLogger(__name__)

_ID_TOKEN = "oidc_id_token"  # noqa: S105 - the library's key in a session
_REFUSED = "The provider's answer was refused, or none of your groups has a role here. Try again, or ask an operator."
_AWAY = "The provider does not answer. Try again later; an operator has another way in."


@method_decorator(never_cache, name="dispatch")
class SignOnView(OIDCAuthenticationRequestView):  # type: ignore[misc]  # the library has no types
    def __init__(self, **kwargs: Any) -> None:
        super(OIDCAuthenticationRequestView, self).__init__(**kwargs)  # the library's asks the provider already here

    @staticmethod
    def get_settings(attr: str, *args: Any) -> Any:
        return library_setting(attr, *args)

    def get(self, request: HttpRequest) -> HttpResponseBase:
        _guard_on()
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
        _guard_on()
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
        found: HttpResponseBase = super().login_success()
        # What the provider has taken away since counts from the next sign-in on.
        self.request.session.set_expiry(settings.TASKHUB_OIDC_SESSION_HOURS * 3600)
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
        return HttpResponseRedirect(f"{address}?{urlencode(back)}")


def _end_session() -> str:
    try:
        return str(discovered().get("end_session_endpoint") or "")
    except ProviderTrouble:
        return ""  # the session here has ended


def _guard_on() -> None:
    if not settings.TASKHUB_OIDC_ISSUER:
        raise Http404


def _failed(request: HttpRequest, error: Exception | None, words: str, status: int) -> HttpResponse:
    if error is not None:
        log.warning("sign-on failed: %s: %s", type(error).__name__, error)
    return render(request, "registration/sign_on_failed.html", {"words": words}, status=status)
