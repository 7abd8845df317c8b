"""Events must explain the change: what a client knows after it applied them is what the database holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from django_eventstream.models import Event

from taskhub.events.announcements import announced
from taskhub.events.types import to_json
from taskhub.models import Announcement, Execution, ExecutionStatus, Note, Task

T = TypeVar("T")
World = dict[str, dict[str, dict[str, Any]]]

_TASK_FIELDS = (
    *("status", "priority", "assignee", "artifacts", "title", "tags", "private", "version", "description"),
    *("holder", "held_back", "ready", "closed_as", "waiting_for"),
)
"""Beside these `verified`, which events leave out where there is no verdict."""
_NOTE_FIELDS = ("kind", "text", "author", "agent", "question")
_NOT_BEGUN = (ExecutionStatus.QUEUED, ExecutionStatus.STARTING)
_EXECUTION_FIELDS = ("session_name", "log_file", "sandbox_id", "command_id", "exit_code")


def _step_of(execution: Execution) -> str:
    if execution.status in _NOT_BEGUN:
        return "preparing" if execution.is_set_up or execution.start_awaits else "waiting"
    return "started" if execution.status == ExecutionStatus.RUNNING else execution.status


def known_world() -> World:
    """The state that the stream must explain: every task, every current announcement, every started execution.

    That an execution was queued, or is asked to stop, is no event: the answer to the request says it. That it waits is
    one; where it stands in the queue moves on without events.
    """
    begun = Execution.objects.exclude(status__in=_NOT_BEGUN, waiting_reason="", command_id="")
    return {
        "tasks": {
            str(task.pk): {**{name: getattr(task, name) for name in _TASK_FIELDS}, "verified": task.verified or None}
            for task in Task.objects.all()
        },
        "executions": {
            str(execution.pk): {
                "execution_event": _step_of(execution),
                "reason": execution.waiting_reason or None,
                **{name: getattr(execution, name) for name in _EXECUTION_FIELDS},
            }
            for execution in begun
        },
        "notes": {
            str(note.pk): {
                **{name: getattr(note, name) for name in ("kind", "text", "author", "agent")},
                "question": note.question_id,
            }
            for note in Note.objects.all()
        },
        "announcements": {str(told.pk): to_json(announced(told)) for told in Announcement.objects.current()},
    }


def apply(world: World, event: dict[str, Any]) -> None:
    """What a client does with an event."""
    data = event["data"]
    if event["event"] in {"task_created", "task_updated"}:
        known = world["tasks"].setdefault(data["task_id"], {})
        known.update({name: data[name] for name in _TASK_FIELDS if name in data}, verified=data.get("verified"))
    elif event["event"] in {"note_added", "task_ready", "task_verified"}:
        _apply_beside(world, event["event"], data)
    elif event["event"] == "task_deleted":
        del world["tasks"][data["task_id"]]
    elif event["event"] == "execution_event":
        names = ("execution_event", "reason", *_EXECUTION_FIELDS)
        world["executions"][data["execution_id"]] = {name: data.get(name) for name in names}
    elif event["event"] == "file_changed":
        # Files of a sandbox are in no row; the event must name an execution that clients know.
        assert data["execution_id"] in world["executions"]
    elif event["event"] == "announcement":
        world["announcements"].pop(data["announcement_id"], None)
        if not data["withdrawn"]:
            world["announcements"][data["announcement_id"]] = data
    else:
        raise AssertionError(f"an event that no client can apply: {event['event']}")


def _apply_beside(world: World, name: str, data: dict[str, Any]) -> None:
    """Events about a task that say only a part of it."""
    task = world["tasks"][data["task_id"]]
    if name == "task_ready":
        task["ready"] = True
        return
    if name == "task_verified":
        task.update({each: data[each] for each in ("verified", "version")})
        return
    task["waiting_for"] = data["waiting_for"]
    world["notes"][str(data["note_id"])] = {each: data.get(each) for each in _NOTE_FIELDS}


def assert_events_explain(service: Callable[[], T]) -> T:
    """Runs the service; the state before, plus the events it emitted, must be the state after."""
    world = known_world()
    last = Event.objects.order_by("-eid").values_list("eid", flat=True).first() or 0
    result = service()
    for text in Event.objects.filter(eid__gt=last).order_by("eid").values_list("data", flat=True):
        apply(world, json.loads(text))
    assert world == known_world()
    return result
