"""The pages people see. Each is a template and a script; what is live on it comes from the event stream."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from taskhub.events.types import EVENT_TYPES


@require_safe
def event_monitor(request: HttpRequest) -> HttpResponse:
    """`/test_sse.html`: spec 003's visual event monitor."""
    return render(request, "test_sse.html", {"event_types": list(EVENT_TYPES)})
