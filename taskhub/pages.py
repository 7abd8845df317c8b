"""Views of the HTML pages. Each has a template and a script; live data comes from the event stream."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any, Concatenate, Final, ParamSpec
from uuid import UUID

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

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
    return {"role": role.group, "is_operator": role >= Role.OPERATOR}


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


def _in_order(statuses: frozenset[TaskStatus]) -> str:
    """In the order of the board; sets have no order."""
    return " ".join(status.value for status in TaskStatus if status in statuses)
