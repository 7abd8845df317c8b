"""Admin site: for the role operator, independent of Django's staff flag. The theme is unfold's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from csp.constants import UNSAFE_EVAL
from csp.decorators import csp_update
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ValidationError
from django.core.paginator import InvalidPage
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver, reverse
from unfold.forms import AuthenticationForm
from unfold.sites import UnfoldAdminSite

from taskhub.auth.backends import is_operator
from taskhub.auth.sign_in_form import LimitedSignIn, with_limits
from taskhub.auth.token_session import session_token

# Unfold's menus use Alpine, which compiles the expressions in its attributes at run time. Only pages of the admin and
# its login form allow that; like all pages they run no inline script or style, and load none from other origins.
_lets_alpine_compile: Final = csp_update({"script-src": [UNSAFE_EVAL]})


PAGES: Final[list[Callable[[HubAdminSite], list[URLPattern]]]] = []
"""Pages that are not rows of a table: each entry makes their addresses, below those of the site."""


class OperatorLoginForm(LimitedSignIn, AuthenticationForm):  # type: ignore[misc]  # unfold has no types
    def confirm_login_allowed(self, user: AbstractBaseUser) -> None:
        if not isinstance(user, User) or not is_operator(user):
            # The password was right: saying otherwise would send its owner looking for another one.
            raise ValidationError(
                "This account does not have the role operator; sign in at /login/ instead.", code="no_operator"
            )


class HubAdminSite(UnfoldAdminSite):  # type: ignore[misc]  # unfold has no types
    login_form = OperatorLoginForm

    def has_permission(self, request: HttpRequest) -> bool:
        # What is made here outlives a token: passwords, accounts, other accounts' tokens.
        return is_operator(request.user) and session_token(request) is None

    def get_urls(self) -> list[URLPattern | URLResolver]:
        return [*(address for pages in PAGES for address in pages(self)), *super().get_urls()]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        # Unfold would write its colours as an inline style; ours are in a style sheet.
        return {**super().each_context(request), "colors": None}

    def admin_view(
        self, view: Callable[..., HttpResponseBase], cacheable: bool = False
    ) -> Callable[..., HttpResponseBase]:
        guarded: Callable[..., HttpResponseBase] = _lets_alpine_compile(super().admin_view(view, cacheable))
        return guarded

    def search(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        try:
            found: HttpResponse = super().search(request, extra_context)
        except (InvalidPage, ValueError):
            raise Http404("Page of results not found.") from None
        return found

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method == "GET" and settings.TASKHUB_OIDC_ISSUER and not request.user.is_authenticated:
            return redirect_to_login(request.GET.get("next") or reverse("admin:index"))
        login = cast("Callable[..., HttpResponse]", _lets_alpine_compile(super().login))
        response = login(request, extra_context)
        with_limits(request, response, (getattr(response, "context_data", None) or {}).get("form"))
        return response
