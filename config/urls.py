"""The site's addresses."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from taskhub.health import healthz, readyz
from taskhub.pages import event_monitor

urlpatterns = [
    path("api/", include("taskhub.api.urls")),
    path("admin/", admin.site.urls),
    path("", RedirectView.as_view(pattern_name="test-sse"), name="home"),
    path("test_sse.html", event_monitor, name="test-sse"),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
]

handler400 = "taskhub.api.errors.bad_request"
handler403 = "taskhub.api.errors.forbidden"
handler404 = "taskhub.api.errors.not_found"
handler500 = "taskhub.api.errors.server_error"
