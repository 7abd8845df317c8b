"""The pages people see. What is live on them comes from `/sse`, what they change goes over REST."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe


@require_safe
def sse_demo(request: HttpRequest) -> HttpResponse:
    """`/sse-demo.html`: spec 000's page to try the streams of a sandbox."""
    return render(request, "sse-demo.html")
