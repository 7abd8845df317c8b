"""Every event the hub emits: one class each, no field beyond those declared.

A class is the event's data. `EVENT_TYPES` finds a class by its name on the wire. The first fields of
`task_updated` and `execution_event` are those of spec 003; what follows them is ours.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from taskhub.models import TaskPriority, TaskStatus


class EventData(BaseModel):
    """The root of all events; `name` is what the envelope's `event` says."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_enum_values=True)
    name: ClassVar[str]


class _TaskState(EventData):
    """A task as lists and boards show it: everything but the description."""

    task_id: UUID
    status: TaskStatus
    priority: TaskPriority
    assignee: str
    artifacts: list[str]
    title: str
    tags: list[str]
    version: int
    updated_at: datetime


class TaskCreated(_TaskState):
    name: ClassVar[str] = "task_created"
    description: str
    created_at: datetime


class TaskUpdated(_TaskState):
    """`changed` names the fields that are new; `previous` holds the old status, priority and assignee among them.

    The description travels only when it changed.
    """

    name: ClassVar[str] = "task_updated"
    changed: list[str]
    previous: dict[str, str]
    description: str | None = None


class TaskDeleted(EventData):
    name: ClassVar[str] = "task_deleted"
    task_id: UUID
    assignee: str


class ExecutionEvent(EventData):
    """A step in the life of an execution. `execution_event` is the status it reached (`started` for running).

    With `sandbox_id`, `session_name` and `command_id` a client can open the log stream of the sandbox itself.
    """

    name: ClassVar[str] = "execution_event"
    task_id: UUID
    execution_event: Literal["started", "completed", "failed", "stopped", "timed_out", "lost"]
    session_name: str
    log_file: str
    execution_id: UUID
    assignee: str
    sandbox_id: str
    command_id: str
    exit_code: int | None = None
    error_code: str | None = None


class Connected(EventData):
    """The first event of every stream: where it begins."""

    name: ClassVar[str] = "connected"
    last_event_id: str


class StreamReset(EventData):
    """Events are missing: fetch the snapshot; the stream goes on live after `current_id`.

    `expired`: what came after the given id is no longer kept. `unknown_id`: there was never such an id.
    """

    name: ClassVar[str] = "stream-reset"
    reason: Literal["expired", "unknown_id"]
    current_id: str
    snapshot_url: str


class Disconnected(EventData):
    """The last event when the server ends the stream; come back after `reconnect_in_ms` with the last id."""

    name: ClassVar[str] = "disconnected"
    reason: Literal["shutdown", "recycled"]
    reconnect_in_ms: int


CONTROL_TYPES: Final[dict[str, type[EventData]]] = {
    declared.name: declared for declared in (Connected, StreamReset, Disconnected)
}
"""What a stream says of itself; never kept."""

EVENT_TYPES: Final[dict[str, type[EventData]]] = {
    declared.name: declared for declared in (TaskCreated, TaskUpdated, TaskDeleted, ExecutionEvent)
}


def to_json(data: EventData) -> dict[str, Any]:
    """The event's data as JSON values; what is unknown (None) is left out."""
    return data.model_dump(mode="json", exclude_none=True)
