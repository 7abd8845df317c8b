"""The browser pages: each is a template and a script; live changes come from the event stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import wraps
from http import HTTPStatus
from typing import Any, Concatenate, Final, ParamSpec, get_args
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from taskhub.auth.sign_in_link import another_link
from taskhub.auth.token_session import session_token
from taskhub.errors import NotFound
from taskhub.events.types import EVENT_TYPES, ExecutionEvent
from taskhub.lib.markdown import render_markdown
from taskhub.models import (
    ACTIVE_STATUSES,
    TRANSITIONS,
    UNSUCCESSFUL,
    Announcement,
    Execution,
    ExecutionStatus,
    LeftOutReason,
    Leftover,
    Note,
    NoteKind,
    StartAwaits,
    Task,
    TaskPriority,
    TaskStatus,
    Verdict,
    VerifyPolicy,
    WaitingReason,
)
from taskhub.roles import Role, role_of
from taskhub.selectors.board import BOARD_STATES
from taskhub.selectors.executions import execution_list_for
from taskhub.selectors.notes import notes_of
from taskhub.selectors.tasks import task_get_for, task_list_for

P = ParamSpec("P")

THEME_COOKIE: Final = "taskhub_theme"
DISMISSED_COOKIE: Final = "taskhub_dismissed"
"""Ids of announcements, which `static/taskhub/announcements.js` writes."""
THEMES: Final = {"light": "light", "dark": "dark"}
FIRST_SCRIPT: Final = """\
echo "Hello from a sandbox. It is $(date)."
for n in 1 2 3; do
  echo "step $n of 3"
  sleep 1
done
echo "A file that a run leaves is kept." > result.txt
"""
"""Of the task that an empty board offers to try."""
_WORKS: Final = Role.AGENT
"""The role that changing and executing tasks takes: what the pages offer to press. The services check it anew."""
_FEW_LINES: Final = 8
"""A log of no more does not get half of the window."""
_OWN_ENDS: Final = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED})


def page(view: Callable[Concatenate[HttpRequest, P], HttpResponse]) -> Callable[..., HttpResponse]:
    """Decorator: readers get the page, others are asked to sign in."""

    @wraps(view)
    def shown(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if role_of(request.user) >= Role.VIEWER:
            return view(request, *args, **kwargs)
        if request.user.is_authenticated:
            raise PermissionDenied
        return redirect_to_login(request.get_full_path())

    return require_safe(shown)


def header(request: HttpRequest) -> dict[str, Any]:
    """Context processor: the reader's role, and the enums that go with every page."""
    if not hasattr(request, "user"):
        return {}
    role = role_of(request.user)
    return {
        "role": role.group,
        "is_operator": role >= Role.OPERATOR and session_token(request) is None,
        "enums": page_enums,
        "theme": theme if (theme := request.COOKIES.get(THEME_COOKIE, "")) in THEMES else "",
        "sign_on": urlsplit(settings.TASKHUB_OIDC_ISSUER).hostname or "",
        "passwords": settings.TASKHUB_PASSWORD_SIGN_IN,
        "announcements": lambda: _announcements(request) if role >= Role.VIEWER else [],
        **_ways_in(),
    }


def _announcements(request: HttpRequest) -> list[Announcement]:
    """Those that this browser has not dismissed, the oldest first. The page comes with them, so nothing moves later."""
    dismissed = request.COOKIES.get(DISMISSED_COOKIE, "").split(".")
    return [each for each in Announcement.objects.current() if str(each.pk) not in dismissed][::-1]


def _ways_in() -> dict[str, Any]:
    """How a reader of the local profile gets in: where its token is, and what prints a link."""
    if not settings.TASKHUB_SIGN_IN_LINKS:
        return {}
    token_file = str(settings.DATA_DIR / "token")
    return {
        "token_file": token_file,
        "show_token": f"docker compose exec taskhub cat {token_file}" if settings.TASKHUB_IN_CONTAINER else "",
        "print_link": another_link(),
    }


def page_enums() -> dict[str, Any]:
    """The enums of the service for the scripts (`static/taskhub/enums.js` has the types), which repeat none of them."""
    return {
        "statuses": _statuses(),
        "priorities": _priorities(),
        "executionStatuses": [
            {
                "value": status.value,
                "isActive": status in ACTIVE_STATUSES,
                "isSuccess": status == ExecutionStatus.COMPLETED,
                "isOwnEnd": status in _OWN_ENDS,
                "isFailure": status in UNSUCCESSFUL,
            }
            for status in ExecutionStatus
        ],
        "executionSteps": {step: _status_of(step) for step in _EXECUTION_STEPS},
        "waitingReasons": _entries(_WAITING),
        "endings": _entries(_ENDING),
        "leftovers": [row | {"passes": row["value"] == Leftover.SANDBOX_STOPPING} for row in _entries(_LEFTOVER)],
        "verdicts": [row | {"isGood": row["value"] == Verdict.PASSED} for row in _entries(_VERDICT)],
        "leftOutReasons": _entries(_LEFT_OUT),
        "asks": [{"value": need, "label": title} for need, title in _ASKS.items()],
        "verifyPolicies": _entries(_POLICY),
        "roles": [{"value": role.group, "mayWork": role >= _WORKS} for role in Role],
    }


_WAITING: Final = {
    WaitingReason.CAPACITY: "waiting for capacity",
    WaitingReason.LIMIT: "waiting for a place within the limit",
    WaitingReason.PAUSED: "waiting, starts are paused",
    StartAwaits.IMAGE: "waiting for its image to be built or fetched",
    StartAwaits.SNAPSHOT: "waiting for its snapshot to be activated",
    StartAwaits.VOLUME: "waiting for its volumes to be made",
}
_ENDING: Final = {ExecutionStatus.STOPPED: "being stopped", ExecutionStatus.TIMED_OUT: "timing out"}
_LEFTOVER: Final = {
    Leftover.SANDBOX_STOPPING: "its sandbox is being stopped",
    Leftover.POSSIBLE: "processes of it may still run in its sandbox",
}
_VERDICT: Final = {
    Verdict.PASSED: "passed",
    Verdict.FAILED: "failed",
    Verdict.UNAVAILABLE: "could not be carried out",
}
_LEFT_OUT: Final = {
    LeftOutReason.TOO_LARGE: "too large",
    LeftOutReason.NO_ROOM: "no room beside the others",
    LeftOutReason.TOO_MANY: "too many files",
    LeftOutReason.UNREADABLE: "could not be read, or was still growing",
    LeftOutReason.LATE: "not copied in time",
}
_STATES: Final = {
    "ready": "To do, and nothing that it waits for",
    "blocked": "Other tasks must be done first",
    "waiting": "Its run waits for a place to start",
    "running": "A script runs for it",
    "failed": "Its last run failed",
    "question": "An agent or a person asks, and waits for the answer",
    "held": "Agents failed at it too often: a person must release it",
    "stale": "In progress, and no agent seems to work on it",
}
"""What the board's states mean."""
_ASKS: Final = {
    "person": "Held back",
    "answer": "Question",
    "own": "Your question waits for an answer",
    "review": "Waits for a review",
}
"""Titles of what a task needs of people; `own`: a question that the reader has asked."""
_POLICY: Final = {
    VerifyPolicy.OFF: "a verification may be asked for",
    VerifyPolicy.WARN: "done does not need it",
    VerifyPolicy.REQUIRED: "done needs a passed verification",
}


def _entries(words: Mapping[Any, str]) -> list[dict[str, str]]:
    """What the pages say of each value beside the execution's status."""
    return [{"value": value.value, "label": label} for value, label in words.items()]


_STATUS_OF_STEP: Final = {
    "waiting": ExecutionStatus.QUEUED,
    "preparing": ExecutionStatus.STARTING,
    "started": ExecutionStatus.RUNNING,
}
_EXECUTION_STEPS: Final[tuple[str, ...]] = get_args(ExecutionEvent.model_fields["execution_event"].annotation)


def _status_of(step: str) -> str:
    """The status that an `execution_event` reports; most are called like it."""
    return (_STATUS_OF_STEP.get(step) or ExecutionStatus(step)).value


def _statuses() -> list[dict[str, Any]]:
    """In the board's order, each with the statuses that may follow."""
    return [
        {
            "value": status.value,
            "label": status.label,
            "next": [each.value for each in TaskStatus if each in TRANSITIONS[status]],
        }
        for status in TaskStatus
    ]


def _priorities() -> list[dict[str, str]]:
    """The highest first; `rank` is for the style sheet, which knows no priority by name."""
    highest, *_, lowest = reversed(TaskPriority)
    ranks = {highest: "top", lowest: "bottom"}
    return [
        {"value": priority.value, "label": priority.label, "rank": ranks.get(priority, "middle")}
        for priority in reversed(TaskPriority)
    ]


def _task_fields() -> dict[str, Any]:
    """Context of `_task_fields.html`."""
    return {"priorities": _priorities(), "default_priority": Task().priority}


@page
def board(request: HttpRequest) -> HttpResponse:
    """`/`: the tasks by status."""
    first = {"first_script": FIRST_SCRIPT, "sandboxes_off": settings.TASKHUB_SANDBOXES_OFF}
    shown = {
        "states": [(name, label, _STATES[name]) for name, label in BOARD_STATES.items()],
        "done_days": settings.TASKHUB_BOARD_DONE_DAYS,
        "is_empty": not task_list_for(user=request.user).exists(),
        "may_work": may_work(request),
    }
    return render(request, "board.html", {"columns": _statuses(), **shown, **first, **_task_fields()})


@page
def task_page(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """`/tasks/{task_id}/`: a task, its history, its executions and their logs."""
    try:
        task = task_get_for(user=request.user, task_id=task_id)
    except NotFound:
        return render(request, "task_missing.html", status=HTTPStatus.NOT_FOUND)
    rank = next(each["rank"] for each in _priorities() if each["value"] == task.priority)
    asked = task.open_question_id
    run = _shown_run(request, task)
    notes = notes_of(user=request.user, task=task)
    question = None if asked is None else notes.filter(pk=asked).first()
    name = request.user.get_username()
    is_own = bool(name) and question is not None and (question.author, question.agent) == (name, "")
    is_to_review = task.waiting_for == "review"
    result = _result_of(notes) if is_to_review else None
    context = {
        "task": task,
        "priority_rank": rank,
        "may_work": may_work(request),
        "description_html": render_markdown(task.description),
        "question": question,
        "question_html": question and render_markdown(question.text),
        "is_own_question": is_own,
        "asks_title": _ASKS.get("own" if is_own and not task.held_back else task.waiting_for, ""),
        "is_to_review": is_to_review,
        "result": result,
        "result_html": result and render_markdown(result.text),
        "has_runs": run is not None,
        "default_timeout": settings.TASKHUB_EXECUTION_TIMEOUT_S,
        "few_lines": _FEW_LINES,
        "log_is_short": run is not None and run.log_lines is not None and run.log_lines <= _FEW_LINES,
    }
    return render(request, "task.html", context)


def _result_of(notes: QuerySet[Note]) -> Note | None:
    """The result that was handed in last. One that a person has sent back is none; the service only remarks on it."""
    last = notes.filter(Q(kind=NoteKind.RESULT) | (Q(kind=NoteKind.REVIEW) & ~Q(author=""))).first()
    return last if last is not None and last.kind == NoteKind.RESULT else None


def _shown_run(request: HttpRequest, task: Task) -> Execution | None:
    """The run whose log the page shows first: the one that the address names, else the newest."""
    runs = execution_list_for(user=request.user).filter(task=task)
    with suppress(ValueError):
        if named := runs.filter(pk=UUID(request.GET.get("execution", ""))).first():
            return named
    return runs.first()


def may_work(request: HttpRequest) -> bool:
    """Whether the page is opened by a session that may change tasks; for the token of a tab the script shows more."""
    return request.user.is_authenticated and role_of(request.user) >= _WORKS


@page
def event_monitor(request: HttpRequest) -> HttpResponse:
    """`/test_sse.html`: spec 003's visual event monitor."""
    return render(request, "test_sse.html", {"event_types": list(EVENT_TYPES)})
