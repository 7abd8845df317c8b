"""Every event the hub emits: one class each, no field beyond those declared.

A class is the event's data. `EVENT_TYPES` finds a class by its name on the wire. The first fields of
`task_updated` and `execution_event` are those of spec 003; what follows them is ours.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from taskhub.models import AnnouncementLevel, TaskPriority, TaskStatus

WaitingFor = Literal["", "person", "answer", "review"]
"""What a task needs of people; empty: nothing."""
Verified = Literal["passed", "failed", "unavailable"]
"""What a task's verification says of the work as it is."""


class EventData(BaseModel):
    """The root of all events; `name` is what the envelope's `event` says."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_enum_values=True)
    name: ClassVar[str]


class _TaskState(EventData):
    """A task as lists and boards show it: everything but the description.

    `holder` is the agent that holds it, as account/name; empty: none. `held_back`: agents failed at it too often, and
    none may claim it until a person releases it. `ready`: an agent may claim it, as it is `todo`, not held back, and
    what it waits for is done. `closed_as` says why nothing came of a task that is done. `waiting_for`: what it
    needs of people. `verified`: the verdict on its work; left out where there is none, or it is void.

    `omitted` names the fields that are left out because the event would have more than 96 KiB on the wire:
    `description`, then `artifacts`. GET /api/tasks/{task_id} has them.
    """

    task_id: UUID
    status: TaskStatus
    priority: TaskPriority
    assignee: str
    private: bool
    artifacts: list[str] | None = None
    title: str
    tags: list[str]
    version: int
    updated_at: datetime
    holder: str = ""
    held_back: bool = False
    ready: bool | None = None
    closed_as: str = ""
    waiting_for: WaitingFor = ""
    verified: Verified | None = None
    omitted: list[str] | None = None


class TaskCreated(_TaskState):
    name: ClassVar[str] = "task_created"
    description: str | None = None
    created_at: datetime


class TaskUpdated(_TaskState):
    """`changed` names the fields that are new; `previous` holds what status, priority, assignee and
    private among them were.

    The description travels when it changed, and when others see the task than before. `reason`, where the hub itself
    made the change: `lease_expired`, an agent that held the task was silent for too long; `blocked`, a task that it
    waits for is open again.
    """

    name: ClassVar[str] = "task_updated"
    changed: list[str]
    previous: dict[str, str | bool]
    description: str | None = None
    reason: Literal["lease_expired", "blocked"] | None = None


class TaskReady(EventData):
    """A task that waited may be claimed from now on; not told at its creation."""

    name: ClassVar[str] = "task_ready"
    task_id: UUID
    assignee: str
    priority: TaskPriority
    title: str
    tags: list[str]


class TaskVerified(EventData):
    """A task has another verdict: `verified` is null where there is none any more, since what was checked has changed.

    `execution_id` is the verification, `checked_execution_id` the run whose files it checked. A task that is done stays
    done.
    """

    name: ClassVar[str] = "task_verified"
    task_id: UUID
    verified: Verified | None
    version: int
    updated_at: datetime
    assignee: str
    execution_id: UUID | None = None
    checked_execution_id: UUID | None = None

    @model_serializer(mode="wrap")
    def _with_null(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is told is never left out."""
        told: dict[str, Any] = handler(self)
        return {"task_id": told.pop("task_id"), "verified": self.verified, **told}


class NoteAdded(EventData):
    """Words on a task. `agent` is empty for a person, `author` for the hub itself; `waiting_for` is the task's new one.

    A question may have `options`, and a `deadline` after which it is answered by what it `assumes`; an answer has the
    id of its `question`, and `assumed` where it was written at the deadline.
    """

    name: ClassVar[str] = "note_added"
    task_id: UUID
    note_id: int
    kind: Literal["note", "result", "review", "question", "answer"]
    text: str
    author: str
    agent: str
    at: datetime
    waiting_for: WaitingFor
    assignee: str
    question: int | None = None
    options: list[str] | None = None
    deadline: datetime | None = None
    assumes: str | None = None
    assumed: bool | None = None


class TaskDeleted(EventData):
    """The task is gone; also what those are told who may not see it any more."""

    name: ClassVar[str] = "task_deleted"
    task_id: UUID
    assignee: str
    private: bool


class ExecutionEvent(EventData):
    """A step in the life of an execution. `execution_event` is the status it reached (`started` for running).

    `preparing` tells that its environment's checkout and setup have begun: its log can be read. With a `reason` it
    tells what the start waits for at the sandbox service: an image is built, a snapshot is activated, volumes are made.

    `waiting` tells that a queued execution cannot start yet, with the `reason` (the sandbox service is full, a limit is
    reached, starts are paused) and its `position` in the queue at that moment, from 1. It comes once for each reason.

    With `sandbox_id`, `session_name` and `command_id` a client can open the log stream of the sandbox itself.
    `artifacts`, at the end, is how many of its files can be had from `/api/exec/artifacts/`. `kind`: `verify` for a
    verification, which checks what the last run left and changes neither status nor lease.
    """

    name: ClassVar[str] = "execution_event"
    task_id: UUID
    execution_event: Literal["waiting", "preparing", "started", "completed", "failed", "stopped", "timed_out", "lost"]
    session_name: str
    log_file: str
    execution_id: UUID
    assignee: str
    sandbox_id: str
    command_id: str
    exit_code: int | None = None
    error_code: str | None = None
    artifacts: int | None = None
    reason: Literal["capacity", "limit", "paused", "image", "snapshot", "volume"] | None = None
    position: int | None = None
    kind: Literal["run", "verify"] = "run"


class ChangedFile(BaseModel):
    """`path` is relative to the working folder; `size` is in bytes, null for a deleted file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    change: Literal["created", "modified", "deleted"]
    path: str
    size: int | None

    @model_serializer
    def _with_null(self) -> dict[str, Any]:
        """A row of a list is whole: `to_json` leaves out only what an event does not know."""
        return {"change": self.change, "path": self.path, "size": self.size}


class FileChanged(EventData):
    """Files of an execution's working folder changed: at most one event a second and one at the end,
    of 100 files each.

    What happened to a file since the last event is one change. `left_out` counts the changes that are not named.
    """

    name: ClassVar[str] = "file_changed"
    task_id: UUID
    execution_id: UUID
    assignee: str
    files: list[ChangedFile]
    left_out: int


class Announced(EventData):
    """What an operator says to everybody; with `withdrawn: true`, that it holds no longer.

    It ends by itself at `ends_at`, without another event. `task_id` and `assignee` do not filter it: it is about none.
    """

    name: ClassVar[str] = "announcement"
    announcement_id: UUID
    level: AnnouncementLevel
    text: str
    made_by: str
    created_at: datetime
    ends_at: datetime | None = None
    withdrawn: bool


class Connected(EventData):
    """The first event of every stream: where it begins, and the announcements that hold now, the newest first.

    `omitted: ["announcements"]`: more hold than fit into an event; GET /api/announcements/ has all.
    """

    name: ClassVar[str] = "connected"
    last_event_id: str
    announcements: list[Announced]
    omitted: list[str] | None = None


class StreamReset(EventData):
    """Events are missing: fetch the snapshot; the stream goes on live after `current_id`.

    `expired`: what came after the given id is no longer kept. `unknown_id`: there was never such an id.
    """

    name: ClassVar[str] = "stream-reset"
    reason: Literal["expired", "unknown_id"]
    current_id: str
    snapshot_url: str


class Disconnected(EventData):
    """The last event when the server ends the stream; come back after `reconnect_in_ms` with the last id.

    `revoked`: what the stream was opened with no longer holds; come back with other credentials, or not at all.
    """

    name: ClassVar[str] = "disconnected"
    reason: Literal["shutdown", "recycled", "revoked", "ended_by_operator"]
    reconnect_in_ms: int


CONTROL_TYPES: Final[dict[str, type[EventData]]] = {
    declared.name: declared for declared in (Connected, StreamReset, Disconnected)
}
"""What a stream says of itself; never kept."""

EVENT_TYPES: Final[dict[str, type[EventData]]] = {
    declared.name: declared
    for declared in (
        TaskCreated,
        TaskUpdated,
        TaskReady,
        TaskVerified,
        NoteAdded,
        TaskDeleted,
        ExecutionEvent,
        FileChanged,
        Announced,
    )
}


def to_json(data: EventData) -> dict[str, Any]:
    """The event's data as JSON values; what is unknown (None) is left out."""
    return data.model_dump(mode="json", exclude_none=True)
