"""HTML pages for sandboxes. Live data comes from `/sse`, changes use REST."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe


@require_safe
def sse_demo(request: HttpRequest) -> HttpResponse:
    """`/sse-demo.html`: spec 000's demo page of the streams of a sandbox."""
    return render(request, "sse-demo.html")
