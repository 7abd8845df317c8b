"""The MCP extension `io.modelcontextprotocol/tasks` (2026-07-28), for clients that declare it.

`execute_task` without `wait_s`, and `add_note` with a question, answer such a client a handle at once. `tasks/get` then
has what `get_execution` answers at the end, or the note with the answer; `tasks/cancel` is `stop_execution`. A handle
is made of ids that are in the database already, so it outlives every process and needs no state of its own. A question
is a task that ends with its answer, and never `input_required`: people answer it, not the client.

The SDK has none of this. To the word: the extension's specification of 2026-07-28. "Task" means the extension's in this
module, and the hub's where it says so.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import mcp_types as types
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field

from taskhub.api.notes import NoteSerializer
from taskhub.api.routes import UUID_PATTERN
from taskhub.errors import Conflict, NotFound
from taskhub.lib.timestamps import iso
from taskhub.mcp.budget import fit
from taskhub.mcp.principal import Requester
from taskhub.mcp.task_tools import touch
from taskhub.mcp.tools import TOOLS, Arguments, Outcome, call_tool, plain
from taskhub.models import Execution, ExecutionStatus, Note, NoteKind, Task
from taskhub.roles import Role
from taskhub.selectors.admission import awaited_words
from taskhub.selectors.executions import execution_find_for
from taskhub.selectors.notes import notes_for
from taskhub.services.executions import execution_request_stop
from taskhub.web.thread_pool import with_database, with_database_writing

EXTENSION: Final = "io.modelcontextprotocol/tasks"
_MISSING: Final = "Missing required client capability"
_UNKNOWN: Final = "Unknown taskId; take it from the result of tools/call."
_REST_OF_NOTE: Final = "read_file with path /notes reads the whole."
_NO_ANSWER: Final = "The task was done before the question had an answer."
_EXECUTION_POLL_MS: Final = 2_000
_QUESTION_POLL_MS: Final = 10_000
_ID: Final = re.compile(
    rf"(execution|question)\.({UUID_PATTERN})(?:\.([0-9]{{1,18}}))?(?:\.n([A-Za-z0-9_-]{{1,800}}))?\Z"
)


class TaskParams(types.RequestParams):
    task_id: str = Field(alias="taskId")


class TaskUpdateParams(TaskParams):
    input_responses: dict[str, Any] = Field(alias="inputResponses")


# --- Who may ----------------------------------------------------------------------------------------------


def declares_tasks(version: str, capabilities: types.ClientCapabilities | None) -> bool:
    """Whether this request may be answered with a task, and may ask for one."""
    extensions = (capabilities.extensions or {}) if capabilities is not None else {}
    return version in MODERN_PROTOCOL_VERSIONS and EXTENSION in extensions


def guard_declared(method: str, version: str, capabilities: types.ClientCapabilities | None) -> None:
    """Raises MCPError: earlier revisions do not have the method, and of this one the client must declare it."""
    if version not in MODERN_PROTOCOL_VERSIONS:
        raise MCPError(types.METHOD_NOT_FOUND, "Method not found", method)
    if not declares_tasks(version, capabilities):
        needed: dict[str, Any] = {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, _MISSING, needed)


# --- Handles ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Handle:
    """Of an execution: its id. Of a question: the hub's task and the note. `agent` is the `as` of the call."""

    kind: str
    id: UUID
    note: int | None = None
    agent: str = ""

    @property
    def named(self) -> Arguments:
        """The `as` of later calls."""
        return {"as": self.agent} if self.agent else {}

    def __str__(self) -> str:
        name = base64.urlsafe_b64encode(self.agent.encode()).decode().rstrip("=")
        note = "" if self.note is None else f".{self.note}"
        return f"{self.kind}.{self.id}{note}{f'.n{name}' if name else ''}"


def read_handle(text: str) -> Handle:
    """Raises NotFound."""
    found = _ID.match(text)
    if found is None or (found[1] == "question") != (found[3] is not None):
        raise NotFound(_UNKNOWN)
    try:
        agent = base64.urlsafe_b64decode(f"{found[4] or ''}===").decode()
    except (binascii.Error, UnicodeDecodeError):
        raise NotFound(_UNKNOWN) from None
    return Handle(found[1], UUID(found[2]), int(found[3]) if found[3] else None, agent)


def handle_of(tool: str, arguments: Arguments, outcome: Outcome) -> Handle | None:
    """The handle for the result of a call; None where the result itself is the answer."""
    agent = str(arguments.get("as") or "")
    if outcome.failed or outcome.body.get("cached"):
        return None
    if tool == "execute_task" and not arguments.get("wait_s"):
        return Handle("execution", UUID(outcome.body["execution_id"]), agent=agent)
    if tool == "add_note" and outcome.body["kind"] == NoteKind.QUESTION:
        return Handle("question", UUID(arguments["task_id"]), outcome.body["id"], agent)
    return None


# --- tasks/get, tasks/update, tasks/cancel ------------------------------------------------------------------


async def created(requester: Requester, handle: Handle) -> dict[str, Any]:
    """CreateTaskResult: the task as it is, without a result."""
    task = await _state(requester, handle)
    return {**{name: value for name, value in task.items() if name != "result"}, "resultType": "task"}


async def get_task(requester: Requester, params: TaskParams) -> dict[str, Any]:
    """GetTaskResult. Raises NotFound, and what `get_execution` raises."""
    return {**await _state(requester, read_handle(params.task_id)), "resultType": "complete"}


async def update_task(requester: Requester, params: TaskUpdateParams) -> dict[str, Any]:
    """Acknowledged: no task here asks for input, and answers to what was not asked are ignored. Raises NotFound."""
    await _state(requester, read_handle(params.task_id))
    return {"resultType": "complete"}


async def cancel_task(requester: Requester, params: TaskParams) -> dict[str, Any]:
    """Stop the execution; a question stays, and so does what has ended. Raises NotFound, Forbidden, LeaseLost, Held."""
    handle = read_handle(params.task_id)
    if handle.kind == "execution":
        await with_database_writing(_stop, requester, handle)
    else:
        await _state(requester, handle)
    return {"resultType": "complete"}


def _stop(requester: Requester, handle: Handle) -> None:
    requester.guard(Role.AGENT, account=True)
    execution = execution_find_for(user=requester.user, execution_id=handle.id)
    actor = requester.acting(handle.named)
    try:
        execution_request_stop(actor=actor, task_id=_of_task(execution), execution_id=execution.pk)
    except Conflict as error:
        if error.code != "execution_not_active":  # it has ended meanwhile
            raise


def _of_task(execution: Execution) -> UUID:
    if execution.task_id is None:
        raise NotFound(_UNKNOWN)
    return execution.task_id


async def _state(requester: Requester, handle: Handle) -> dict[str, Any]:
    state = await (_execution(requester, handle) if handle.kind == "execution" else _question(requester, handle))
    return {"taskId": str(handle), "ttlMs": None, **state}


_STATUSES: Final = {ExecutionStatus.STOPPED: "cancelled"}
"""Of those that have ended; all others are completed, and their result says how."""


async def _execution(requester: Requester, handle: Handle) -> dict[str, Any]:
    execution = await with_database(_find_execution, requester, handle)
    state = {
        "createdAt": iso(execution.queued_at),
        "lastUpdatedAt": iso(_last_moved(execution)),
        "statusMessage": _message(execution),
        "pollIntervalMs": _EXECUTION_POLL_MS,
    }
    if execution.is_active:
        return {**state, "status": "working"}
    status = _STATUSES.get(ExecutionStatus(execution.status), "completed")
    if status != "completed":
        return {**state, "status": status}
    arguments = {"task_id": str(execution.task_id), "execution_id": str(execution.pk), **handle.named}
    outcome = await call_tool(requester, TOOLS["get_execution"], arguments)
    return {**state, "status": status, "result": tool_result(outcome)}


def _find_execution(requester: Requester, handle: Handle) -> Execution:
    requester.guard(Role.VIEWER, account=False)
    execution = execution_find_for(user=requester.user, execution_id=handle.id)
    touch(requester, {"task_id": _of_task(execution), **handle.named})
    return execution


def _last_moved(execution: Execution) -> datetime:
    moments = (execution.finished_at, execution.stop_requested_at, execution.started_at, execution.waiting_since)
    return max([execution.queued_at, *filter(None, moments)])


def _message(execution: Execution) -> str:
    if execution.shown_ending:
        return f"It is being ended as {execution.shown_ending}."
    if (awaited := execution.start_awaits) is not None:
        return awaited_words(execution, awaited)
    return f"It waits to start: {execution.waiting_reason}." if execution.waiting_reason else str(execution.status)


async def _question(requester: Requester, handle: Handle) -> dict[str, Any]:
    asked, answer, is_open = await with_database(_find_question, requester, handle)
    state = {"createdAt": iso(asked.at), "pollIntervalMs": _QUESTION_POLL_MS}
    if answer is None:
        status, message = ("working", "The question has no answer yet.") if is_open else ("cancelled", _NO_ANSWER)
        return {**state, "lastUpdatedAt": iso(asked.at), "status": status, "statusMessage": message}
    outcome = Outcome(await with_database(lambda: fit(plain(NoteSerializer(answer).data), rest=_REST_OF_NOTE)))
    return {**state, "lastUpdatedAt": iso(answer.at), "status": "completed", "result": tool_result(outcome)}


def _find_question(requester: Requester, handle: Handle) -> tuple[Note, Note | None, bool]:
    """The question, its answer, and whether it waits for one: that of a task that is done does not."""
    requester.guard(Role.VIEWER, account=False)
    notes = notes_for(user=requester.user, task_id=handle.id)
    asked = notes.filter(pk=handle.note or 0, kind=NoteKind.QUESTION).first()
    if asked is None:
        raise NotFound(_UNKNOWN)
    touch(requester, {"task_id": handle.id, **handle.named})
    # In this order: an answer closes the question.
    is_open = Task.objects.filter(open_question=asked).exists()
    return asked, notes.filter(question=asked, kind=NoteKind.ANSWER).first(), is_open


def tool_result(outcome: Outcome) -> dict[str, Any]:
    """CallToolResult, as the call itself would have had it."""
    return {
        "resultType": "complete",
        "content": [{"type": "text", "text": outcome.text}],
        "structuredContent": outcome.body,
        "isError": outcome.failed,
    }
