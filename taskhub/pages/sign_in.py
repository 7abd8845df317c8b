"""Sign-in pages: by a one-time link, and by a token that becomes a session of the browser."""

from __future__ import annotations

from http import HTTPStatus
from math import ceil

from django.conf import settings
from django.contrib.auth import login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from rest_framework.exceptions import AuthenticationFailed, Throttled

from taskhub.api.authentication import token_check
from taskhub.auth.backends import account_get
from taskhub.auth.browser_sessions import browser_session_record
from taskhub.auth.sign_in_form import SignInForm
from taskhub.auth.sign_in_limits import device_remember
from taskhub.auth.sign_in_link import VALID_FOR, LinkRefused, another_link, link_use
from taskhub.auth.token_session import token_session_begin
from taskhub.roles import Role, role_of


@never_cache
@require_GET  # not HEAD: what only looks whether there is something must not use the link up
def sign_in_link(request: HttpRequest) -> HttpResponse:
    """`/sign-in/?token=…`: signs the browser in with a one-time link of the local profile, and leads to the board."""
    if not settings.TASKHUB_SIGN_IN_LINKS:
        raise Http404
    if "prefetch" in request.headers.get("Sec-Purpose", ""):
        return HttpResponse(status=HTTPStatus.SERVICE_UNAVAILABLE)  # the browser asks again when its user does
    try:
        user = link_use(request, request.GET.get("token", ""))
    except LinkRefused:
        if role_of(request.user) >= Role.VIEWER and request.user.is_authenticated:
            return redirect("home")
        shown = {"minutes": VALID_FOR.seconds // 60, "another": another_link()}
        return render(request, "registration/sign_in_link.html", shown, status=HTTPStatus.BAD_REQUEST)
    login(request, user, backend=settings.AUTHENTICATION_BACKENDS[0])
    response = redirect("home")
    device_remember(request, response, user)
    return response


@never_cache
@require_POST
def token_sign_in(request: HttpRequest) -> HttpResponse:
    """`/login/token/`: signs the browser in with an API token, for what this token may do and as long as it is valid.

    A wrong token shows the sign-in form with what is wrong: 400, or 429 beyond the limit of wrong credentials.
    """
    wanted = _page_after(request)
    if request.user.is_authenticated:
        return HttpResponseRedirect(wanted)
    try:
        user, token = token_check(request, request.POST.get("token", "").strip())
    except (AuthenticationFailed, Throttled) as error:
        return _refused(request, error, wanted)
    account = account_get(user.pk)
    if account is None:  # deactivated since
        return HttpResponseRedirect(wanted)
    token_session_begin(request, account, token)
    browser_session_record(request, account, token)
    return HttpResponseRedirect(wanted)


def _refused(request: HttpRequest, error: AuthenticationFailed | Throttled, wanted: str) -> HttpResponse:
    shown = {"form": SignInForm(request), "next": wanted, "token_problem": str(error.detail)}
    if not isinstance(error, Throttled):
        return render(request, "registration/login.html", shown, status=HTTPStatus.BAD_REQUEST)
    response = render(request, "registration/login.html", shown, status=HTTPStatus.TOO_MANY_REQUESTS)
    response["Retry-After"] = str(ceil(getattr(error, "wait", None) or 1))
    return response


def _page_after(request: HttpRequest) -> str:
    """`next`, where it is a page of this hub; else the board."""
    wanted = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if is_ours else reverse("home")
