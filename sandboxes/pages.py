"""HTML pages for sandboxes. Live data comes from `/sse`, changes use REST."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from taskhub.pages import page


@page
def sandboxes(request: HttpRequest) -> HttpResponse:
    """`/sandboxes/`: all sandboxes, those of the reader first."""
    return render(request, "sandboxes.html", {"keep_min": round(settings.TASKHUB_SANDBOX_KEEP_S / 60)})


@page
def sandbox(request: HttpRequest, sandbox_id: str) -> HttpResponse:
    """`/sandboxes/{sandbox_id}/`: its state, sessions, commands, logs and files.

    Whether there is one that the reader may see, the page asks over REST: Daytona knows it.
    """
    return render(request, "sandbox.html", {"sandbox_id": sandbox_id})


@require_safe
def sse_demo(request: HttpRequest) -> HttpResponse:
    """`/sse-demo.html`: spec 000's demo page of the streams of a sandbox."""
    return render(request, "sse-demo.html")
