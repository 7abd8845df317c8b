"""The pages people see. Each is a template and a script; what is live on it comes from the event stream."""

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
    """For whoever may read; others are asked to log in."""

    @wraps(view)
    def shown(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if role_of(request.user) >= Role.VIEWER:
            return view(request, *args, **kwargs)
        if request.user.is_authenticated:
            raise PermissionDenied
        return redirect_to_login(request.get_full_path())

    return require_safe(shown)


def header(request: HttpRequest) -> dict[str, Any]:
    """Context processor: what the header of every page says of who looks at it, and leads them to."""
    if not hasattr(request, "user"):
        return {}
    role = role_of(request.user)
    return {"role": role.group, "is_operator": role >= Role.OPERATOR}


@page
def board(request: HttpRequest) -> HttpResponse:
    """`/`: the tasks by status. The table of transitions goes with the page, so that it offers no other move."""
    columns = [
        {"status": status.value, "label": status.label, "next": _in_order(TRANSITIONS[status])} for status in TaskStatus
    ]
    return render(request, "board.html", {"columns": columns, "priorities": _PRIORITIES})


@page
def task_page(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """`/tasks/{task_id}/`: a task, what happened to it, its executions and their logs."""
    try:
        task = task_get_for(user=request.user, task_id=task_id)
    except NotFound:
        return render(request, "task_missing.html", status=HTTPStatus.NOT_FOUND)
    # A choice among these may be refused: what may follow a status changes with it, and the service says what does.
    statuses = [
        {"value": status.value, "label": status.label, "next": _in_order(TRANSITIONS[status])} for status in TaskStatus
    ]
    return render(request, "task.html", {"task": task, "statuses": statuses, "priorities": _PRIORITIES})


@page
def event_monitor(request: HttpRequest) -> HttpResponse:
    """`/test_sse.html`: spec 003's visual event monitor."""
    return render(request, "test_sse.html", {"event_types": list(EVENT_TYPES)})


def _in_order(statuses: frozenset[TaskStatus]) -> str:
    """As the board shows them, which a set does not keep."""
    return " ".join(status.value for status in TaskStatus if status in statuses)
