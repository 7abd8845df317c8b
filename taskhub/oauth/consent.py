"""Consent page: `/oauth/authorize`, where an account agrees that a client may act for it.

The page asks each time: no parameter of the request skips it. It names the host of the client's id first and the name
that the client gives itself second. The account chooses a role, at most its own and what was asked for.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from django import forms
from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from oauth2_provider.exceptions import OAuthToolkitError
from oauth2_provider.forms import AllowForm
from oauth2_provider.models import get_application_model
from oauth2_provider.views import AuthorizationView
from oauthlib.common import INVALID_HEX_PATTERN
from oauthlib.oauth2.rfc6749.errors import InvalidRequestError

from taskhub.auth.token_session import session_token
from taskhub.oauth.redirects import form_target, is_loopback, is_printable, shown_redirect
from taskhub.oauth.resource import canonical, issuer, mcp_resource
from taskhub.oauth.validator import LATEST, invalid_target
from taskhub.roles import ROLES, Role, role_of
from taskhub.services.oauth_grants import host_of, role_of_scope, scope_of_role

PAGE: Final = "oauth/authorize.html"
_MEANING: Final = {
    Role.VIEWER: "read tasks, executions, logs and streams",
    Role.AGENT: "read, and work: create, change and delete tasks, run scripts in sandboxes",
    Role.OPERATOR: "all that, and run the hub: private tasks, sandboxes, announcements",
}
_USUAL: Final = Role.AGENT
_CHALLENGE_LENGTH: Final = 43
"""Of a SHA-256 in base64url."""


class ConsentForm(AllowForm):  # type: ignore[misc]  # the toolkit has no types
    """The request's parameters, hidden, and what the account chooses."""

    role = forms.ChoiceField(required=False, widget=forms.RadioSelect)

    def __init__(self, *args: Any, offered: list[Role], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["role"].choices = [(role.group, _MEANING[role]) for role in offered]
        usual = max((role for role in offered if role <= _USUAL), default=Role.NOBODY)
        self.fields["role"].initial = usual.group


@method_decorator(never_cache, name="dispatch")
class ConsentView(AuthorizationView):  # type: ignore[misc]  # likewise
    template_name = PAGE
    form_class = ConsentForm

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if INVALID_HEX_PATTERN.search(request.META.get("QUERY_STRING", "")):
            return _refused(request, "invalid_request", "A percent sign is not followed by two hexadecimal digits.")
        if any("\0" in value for given in (request.GET, request.POST) for value in given.values()):
            return _refused(request, "invalid_request", "A parameter has a NUL character.")
        targets = [*request.GET.getlist("redirect_uri"), *request.POST.getlist("redirect_uri")]
        if not all(map(is_printable, filter(None, targets))):
            return _refused(
                request, "invalid_request", "redirect_uri has a character that is not allowed in an address."
            )
        if request.user.is_authenticated and role_of(request.user) < Role.VIEWER:
            raise PermissionDenied
        found: HttpResponseBase = super().dispatch(request, *args, **kwargs)
        return found

    def handle_no_permission(self) -> HttpResponseBase:
        return redirect_to_login(self.request.get_full_path())

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        query = request.GET.copy()
        # `auto` would answer without asking; `prompt` is of OpenID Connect, which this server does not speak.
        for name in ("approval_prompt", "prompt"):
            query.pop(name, None)
        request.GET = query  # type: ignore[assignment]  # the toolkit reads it, and may read a copy
        found: HttpResponseBase = super().get(request, *args, **kwargs)
        return found

    def validate_authorization_request(self, request: HttpRequest) -> tuple[list[str], dict[str, Any]]:
        """Raises OAuthToolkitError."""
        scopes, credentials = super().validate_authorization_request(request)
        state, target = credentials.get("state"), credentials["redirect_uri"]
        if (
            credentials.get("code_challenge_method") != "S256"
            or len(credentials.get("code_challenge") or "") != _CHALLENGE_LENGTH
        ):
            refusal = InvalidRequestError("Send a code_challenge with the code_challenge_method S256.", state=state)
            raise OAuthToolkitError(refusal, redirect_uri=target)
        self._guard_resource(request.GET, state, target)
        return scopes, credentials

    def _guard_resource(self, given: QueryDict, state: str | None, target: str) -> None:
        if any(canonical(each) != mcp_resource(self.request) for each in given.getlist("resource")):
            raise OAuthToolkitError(invalid_target(state=state), redirect_uri=target)

    def get_form_kwargs(self) -> dict[str, Any]:
        asked = self.request.POST.get("scope") or " ".join(self.oauth2_data.get("scopes", []))
        most = min(role_of(self.request.user), role_of_scope(asked))
        offered = [role for role in Role if Role.VIEWER <= role <= most]
        kwargs: dict[str, Any] = super().get_form_kwargs()
        return {**kwargs, "offered": offered}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)
        application = context.get("application")
        if application is None:
            return context
        target = context["redirect_uri"]
        return context | {
            "client_host": host_of(application.client_id),
            "client_name": application.name,
            "redirect_host": shown_redirect(target),
            "redirect_is_here": is_loopback(target),
            "grant_days": settings.TASKHUB_OAUTH_GRANT_DAYS,
        }

    def render_to_response(self, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        if "error" in context:
            error = context["error"]
            return _refused(self.request, error.error, error.description or "", error.status_code)
        response: HttpResponse = super().render_to_response(context, **kwargs)
        # Browsers hold the redirect that answers a form against this policy, too.
        response._csp_update = {"form-action": form_target(context["redirect_uri"])}  # type: ignore[attr-defined]  # noqa: SLF001 - as django-csp's decorator does
        return response

    def form_invalid(self, form: ConsentForm) -> HttpResponse:  # noqa: ARG002 - Django's interface
        return _refused(self.request, "invalid_request", "The form is incomplete; begin again in the client.")

    def form_valid(self, form: ConsentForm) -> HttpResponseBase:
        given = form.cleaned_data
        if not get_application_model().objects.filter(client_id=given["client_id"]).exists():
            return self.form_invalid(form)
        if given["allow"]:
            if given["role"] not in ROLES:
                return self.form_invalid(form)
            given["scope"] = scope_of_role(ROLES[given["role"]], given["scope"])
        found: HttpResponseBase = super().form_valid(form)
        return found

    def create_authorization_response(
        self, request: HttpRequest, scopes: str, credentials: dict[str, Any], allow: bool
    ) -> Any:
        """The audience is ours whatever the form holds. A consent that is given with a token ends with that token."""
        token = session_token(request)
        latest = token.expiry.isoformat() if token is not None and token.expiry is not None else ""
        own = {"resource": [mcp_resource(request)], "claims": {LATEST: latest}}
        return super().create_authorization_response(request, scopes, {**credentials, **own}, allow)

    def redirect(self, redirect_to: str, application: Any) -> HttpResponseBase:
        """To the client, with `iss` (RFC 9207) also where it is an error."""
        parts = urlsplit(redirect_to)
        query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "iss"]
        named = parts._replace(query=urlencode([*query, ("iss", issuer(self.request))])).geturl()
        found: HttpResponseBase = super().redirect(named, application)
        return found


def _refused(request: HttpRequest, code: str, words: str, status: int = HTTPStatus.BAD_REQUEST) -> HttpResponse:
    """A page, and no redirect: the request names no client, or an address that is not the client's."""
    return render(request, PAGE, {"problem": code, "problem_words": words}, status=status)
