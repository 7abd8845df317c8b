"""URLs of the site."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.urls import include, path, re_path
from django.views.decorators.http import require_http_methods
from django.views.generic import RedirectView

from sandboxes.api.sse import sse
from sandboxes.pages import sandbox, sandboxes, sse_demo
from taskhub.api.prometheus import metrics
from taskhub.api.routes import NAME
from taskhub.auth.sign_in_form import SignInView
from taskhub.mcp.endpoint import mcp
from taskhub.observability.health import healthz, readyz
from taskhub.pages import board, event_monitor, task_page
from taskhub.pages.account import (
    account_settings,
    browser_session_end,
    own_token_revoke,
    password_change,
    stream_end,
    theme_change,
    told_change,
)
from taskhub.pages.agents import agents
from taskhub.pages.components import components
from taskhub.pages.connect import connect
from taskhub.pages.sign_in import sign_in_link, token_sign_in
from taskhub.sign_on.views import SignOnCallbackView, SignOnView, SignOutView

_ICON = f"{settings.STATIC_URL}taskhub/favicon.svg"
_form = require_http_methods(["GET", "HEAD", "POST"])

urlpatterns = [
    path("api/", include("taskhub.api.urls")),
    path("api/", include("sandboxes.api.urls")),
    path("sse", sse, name="sse"),
    re_path(r"^mcp/?$", mcp, name="mcp"),
    path("", include("taskhub.oauth.urls")),
    path("sse-demo.html", sse_demo, name="sse-demo"),
    path("admin/", admin.site.urls),
    path("login/", _form(SignInView.as_view()), name="login"),
    path("login/token/", token_sign_in, name="token-sign-in"),
    path("sign-in/", sign_in_link, name="sign-in-link"),
    path("logout/", SignOutView.as_view(), name="logout"),
    path("sign-on/", SignOnView.as_view(), name="sign-on"),
    path("sign-on/callback/", SignOnCallbackView.as_view(), name="sign-on-callback"),
    path("", board, name="home"),
    path("tasks/<uuid:task_id>/", task_page, name="task-page"),
    path("agents/", agents, name="agents-page"),
    path("sandboxes/", sandboxes, name="sandboxes-page"),
    re_path(rf"^sandboxes/(?P<sandbox_id>{NAME})/$", sandbox, name="sandbox-page"),
    path("connect/", connect, name="connect"),
    path("settings/", account_settings, name="settings"),
    path("settings/password/", password_change, name="settings-password"),
    path("settings/theme/", theme_change, name="settings-theme"),
    path("settings/told/", told_change, name="settings-told"),
    path("settings/tokens/<uuid:token_id>/revoke/", own_token_revoke, name="settings-token-revoke"),
    path("settings/sessions/<uuid:browser_session_id>/end/", browser_session_end, name="settings-session-end"),
    path("settings/streams/<uuid:stream_id>/end/", stream_end, name="settings-stream-end"),
    # Browsers request it for responses that are not pages of ours: JSON, a log.
    path("favicon.ico", RedirectView.as_view(url=_ICON, http_method_names=["get", "head"]), name="favicon"),
    path("test_sse.html", event_monitor, name="test-sse"),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
]

if settings.TASKHUB_COMPONENTS:
    urlpatterns.append(path("components/", components, name="components"))

handler400 = "taskhub.api.errors.bad_request"
handler403 = "taskhub.api.errors.forbidden"
handler404 = "taskhub.api.errors.not_found"
handler500 = "taskhub.api.errors.server_error"
