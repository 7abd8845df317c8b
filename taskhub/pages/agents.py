"""`/agents/`: who works here, and what each agent holds. Everything on it comes from `/api/agents/`."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from taskhub.pages import page


@page
def agents(request: HttpRequest) -> HttpResponse:
    return render(request, "agents.html")
