"""MCP tools for executions: start a run or a verification, read with the log, stop; the first two may wait."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from rest_framework import serializers

from taskhub.api.executions import JUST_QUEUED, execution_events, execution_look, guard_size
from taskhub.api.fields import IdField, StrictBooleanField, TextField
from taskhub.api.serializers import ExecuteSerializer, ExecutionSerializer
from taskhub.api.verifications import verification_told
from taskhub.api.waiting import Look, feed_signals, waiting
from taskhub.executions.artifact_collector import RESULTS
from taskhub.executions.executor import ExecutorError
from taskhub.executions.existing_sandbox import sandbox_is_missing
from taskhub.executions.log_reading import log_tail
from taskhub.mcp.errors import failure_body
from taskhub.mcp.fields import HolderSerializer, NamedSerializer, TaskIdField, VariablesField
from taskhub.mcp.log_text import LINES_MOST, log_text
from taskhub.mcp.principal import Requester
from taskhub.mcp.task_tools import HeldTaskSerializer, lease_shown, touch
from taskhub.mcp.tools import Arguments, Tool
from taskhub.mcp.waits import WaitSerializer, ended, when_changed
from taskhub.models import Execution
from taskhub.roles import Caller, Role
from taskhub.selectors.executions import execution_get_for
from taskhub.services.executions import execution_queue, execution_request_stop
from taskhub.services.verifications import Requested, verification_request
from taskhub.web.thread_pool import with_database, with_database_writing

_TAIL = 50

_WITH_VERIFY: Final = frozenset({"task_id", "as", "lease", "force", "wait_s"})
_LEFT_OUT: Final = frozenset({"session_name", "command_id", "log_file", "queued_at", "stop_requested_at"})


class ExecuteTaskSerializer(HolderSerializer, WaitSerializer, ExecuteSerializer):
    task_id = TaskIdField()
    env = VariablesField(required=False)  # type: ignore[assignment]  # REST's, as a list
    environment = TextField(required=False)
    again = None  # type: ignore[assignment]  # REST's: an agent has its script and its values
    verify = StrictBooleanField(required=False)

    def validate(self, attrs: Any) -> Any:
        """A verification takes no script and no inputs: it is about what the last run left."""
        if not attrs.pop("verify", False):
            return super().validate(attrs)
        if others := attrs.keys() - _WITH_VERIFY:
            raise serializers.ValidationError({name: ["Leave it out with verify."] for name in sorted(others)})
        return {**attrs, "verify": True}

    def to_internal_value(self, data: Any) -> Any:
        guard_size(data)
        return super().to_internal_value(data)


class ExecutionPlaceSerializer(NamedSerializer, WaitSerializer):
    task_id = TaskIdField()
    execution_id = IdField(required=False, help_text="Default: newest.")
    tail = serializers.IntegerField(min_value=0, max_value=LINES_MOST, default=_TAIL, help_text="Last log lines.")
    after = serializers.IntegerField(required=False, min_value=0)


async def _execute(requester: Requester, arguments: Arguments) -> Any:
    """Without `wait_s` the handle; else how the execution stands at its end, when it must wait, or at the limit."""
    wait_s = arguments.pop("wait_s", 0)
    if arguments.pop("verify", False):
        return await _verify(requester, arguments, wait_s)
    arguments["sandbox_is_missing"] = await sandbox_is_missing(arguments.get("sandbox_id", ""))
    if not wait_s:
        return await with_database_writing(_queue, requester, arguments)
    task_id = arguments["task_id"]
    signals = feed_signals(execution_events(task_id))
    # Admitted first: with a refusal nothing is queued.
    async with waiting(requester.waiter, wait_s, signals, gone=requester.gone) as wait:
        begun = await with_database_writing(_queue, requester, arguments)
        look = _look(task_id, begun["execution_id"])
        seen = ended(*await wait.until(look, lambda now: now.ends_wait(JUST_QUEUED)))
    return {**begun, **seen.data, **await _log(requester, seen.about, _TAIL, None)}


async def _verify(requester: Requester, arguments: Arguments, wait_s: int) -> Any:
    """The verdict, at once where it stands or with `wait_s` when it is known; else the handle."""
    if not wait_s:
        asked = await with_database_writing(_request_verification, requester, arguments)
        return await verification_told(asked)
    task_id = arguments["task_id"]
    signals = feed_signals(execution_events(task_id))
    async with waiting(requester.waiter, wait_s, signals, gone=requester.gone) as wait:
        asked = await with_database_writing(_request_verification, requester, arguments)
        execution, late = asked.execution, {}
        if execution.is_active and not asked.is_hidden:
            look = _look(task_id, execution.pk)
            seen, timed_out = await wait.until(look, lambda now: not now.is_active)
            execution, late = seen.about, {"timed_out": True} if timed_out else {}
    return {**await verification_told(asked, execution=execution), **late}


def _request_verification(requester: Requester, arguments: Arguments) -> Requested:
    return verification_request(actor=requester.acting(arguments), task_id=arguments["task_id"])


def _look(task_id: UUID, execution_id: UUID) -> Look:
    def find(caller: Caller) -> Execution:
        return execution_get_for(user=caller, task_id=task_id, execution_id=execution_id)

    return execution_look(find, _Told)


def _queue(requester: Requester, arguments: Arguments) -> dict[str, Any]:
    script = arguments.pop("script_content", None)
    actor = requester.acting(arguments)
    execution = execution_queue(actor=actor, script=script, **arguments)
    lease = lease_shown(actor, arguments["task_id"])
    return {"execution_id": execution.pk, "status": execution.status, "lease": lease}


async def _get(requester: Requester, arguments: Arguments) -> Any:
    count, after, wait_s = arguments.pop("tail"), arguments.pop("after", None), arguments.pop("wait_s", 0)
    task_id = arguments["task_id"]
    execution_id = await with_database(_find, requester, arguments)
    seen = await when_changed(
        requester,
        _look(task_id, execution_id),
        changed=lambda first, now: now.ends_wait(first),
        events=execution_events(task_id),
        wait_s=wait_s,
    )
    return {**seen.data, **await _log(requester, seen.about, count, after)}


def _find(requester: Requester, arguments: Arguments) -> UUID:
    touch(requester, arguments)
    return execution_get_for(user=requester.user, **arguments).pk


class _Told:
    """REST's answer without what is empty, and without what only a stream or an operator needs; and `files`, with
    their sizes."""

    def __init__(self, execution: Execution) -> None:
        told = ExecutionSerializer(execution).data
        empty = [None, ""]
        self.data = {name: value for name, value in told.items() if name not in _LEFT_OUT and value not in empty}
        if execution.artifacts_kept:
            files = dict(execution.artifacts.values_list("path", "size"))
            # Results first: where the answer is too long, the end is cut.
            names = sorted(files, key=lambda path: (not path.startswith(RESULTS), path))
            self.data["files"] = {name: files[name] for name in names}


async def _log(requester: Requester, execution: Execution, count: int, after: int | None) -> dict[str, Any]:
    """The log's end, or the error of the sandbox service; the status is returned in both cases."""
    nothing = {"log": "", "after": after or 0, "left_out": None, "log_error": None}
    if after is None and not count:
        return nothing
    try:
        lines = (await log_tail(execution, LINES_MOST if after is not None else count)).lines
    except ExecutorError as error:
        return {**nothing, "log_error": failure_body(error)["error"]}
    text = log_text(lines, after=after or 0)
    before = _elsewhere(requester, execution, after or 0, text.left_out) if text.left_out else None
    return {"log": text.text, "after": text.after, "left_out": before, "log_error": None}


def _elsewhere(requester: Requester, execution: Execution, after: int, left_out: int) -> str:
    """Which lines are left out, and the request that has them."""
    query = urlencode({"execution_id": execution.pk, "from": after + 1, "limit": left_out})
    address = requester.address(f"/api/exec/logs/{execution.task_id}?{query}")
    return f"Lines {after + 1} to {after + left_out}: read_file with path /log, or GET {address}"


def _stop(requester: Requester, arguments: Arguments) -> Any:
    execution = execution_request_stop(actor=requester.acting(arguments), **arguments)
    return {"execution_id": execution.pk, "status": execution.status, "ending": execution.shown_ending}


EXECUTION_TOOLS = (
    Tool(
        name="execute_task",
        title="Run a script",
        description="Run a task's script in a sandbox; the task becomes inprogress. Default: the description's first "
        "```bash block. wait_s waits for the end. verify: run its check instead.",
        takes=ExecuteTaskSerializer,
        run=_execute,
        role=Role.AGENT,
        destroys=True,
    ),
    Tool(
        name="get_execution",
        title="Read an execution",
        description="An execution and its log's end; wait_s waits for its end. Pass `after` on for new lines.",
        takes=ExecutionPlaceSerializer,
        run=_get,
        rest="read_file with path /log reads the whole log.",
        role=Role.VIEWER,
        reads=True,
    ),
    Tool(
        name="stop_execution",
        title="Stop an execution",
        description="Stop a task's execution; poll get_execution.",
        takes=HeldTaskSerializer,
        run=_stop,
        role=Role.AGENT,
        destroys=True,
        repeatable=True,
    ),
)
