"""Views of the HTML pages. Each has a template and a script; live data comes from the event stream."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any, Concatenate, Final, ParamSpec
from uuid import UUID

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_safe

from taskhub.auth.sign_in_link import VALID_FOR, LinkRefused, another_link, link_use
from taskhub.errors import NotFound
from taskhub.events.types import EVENT_TYPES
from taskhub.models import TRANSITIONS, TaskPriority, TaskStatus
from taskhub.roles import Role, role_of
from taskhub.selectors.tasks import task_get_for

P = ParamSpec("P")

_PRIORITIES: Final = [(priority.value, priority.label) for priority in reversed(TaskPriority)]


def page(view: Callable[Concatenate[HttpRequest, P], HttpResponse]) -> Callable[..., HttpResponse]:
    """For viewers and above; anonymous visitors are redirected to the sign-in page."""

    @wraps(view)
    def shown(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if role_of(request.user) >= Role.VIEWER:
            return view(request, *args, **kwargs)
        if request.user.is_authenticated:
            raise PermissionDenied
        return redirect_to_login(request.get_full_path())

    return require_safe(shown)


def header(request: HttpRequest) -> dict[str, Any]:
    """Context processor: role and permissions for the header of every page."""
    if not hasattr(request, "user"):
        return {}
    role = role_of(request.user)
    token_file = settings.DATA_DIR / "token" if settings.TASKHUB_SIGN_IN_LINKS else ""
    return {"role": role.group, "is_operator": role >= Role.OPERATOR, "token_file": token_file}


@page
def board(request: HttpRequest) -> HttpResponse:
    """`/`: the tasks by status. The page includes the table of transitions, so that it offers only allowed moves."""
    columns = [
        {"status": status.value, "label": status.label, "next": _in_order(TRANSITIONS[status])} for status in TaskStatus
    ]
    return render(request, "board.html", {"columns": columns, "priorities": _PRIORITIES})


@page
def task_page(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """`/tasks/{task_id}/`: a task, its history, its executions and their logs."""
    try:
        task = task_get_for(user=request.user, task_id=task_id)
    except NotFound:
        return render(request, "task_missing.html", status=HTTPStatus.NOT_FOUND)
    # The service may refuse a choice from this list: the allowed transitions change with the status.
    statuses = [
        {"value": status.value, "label": status.label, "next": _in_order(TRANSITIONS[status])} for status in TaskStatus
    ]
    return render(request, "task.html", {"task": task, "statuses": statuses, "priorities": _PRIORITIES})


@page
def event_monitor(request: HttpRequest) -> HttpResponse:
    """`/test_sse.html`: spec 003's visual event monitor."""
    return render(request, "test_sse.html", {"event_types": list(EVENT_TYPES)})


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
    return redirect("home")


def _in_order(statuses: frozenset[TaskStatus]) -> str:
    """In the order of the board; sets have no order."""
    return " ".join(status.value for status in TaskStatus if status in statuses)
