"""MCP tools for executions: start, poll with log, stop. None of them waits for the script."""

from __future__ import annotations

from typing import Any, Final

from rest_framework import serializers

from taskhub.api.executions import guard_size
from taskhub.api.fields import IdField
from taskhub.api.log_serializers import LogLineSerializer
from taskhub.api.serializers import ExecuteSerializer, ExecutionSerializer
from taskhub.executions.artifact_collector import RESULTS
from taskhub.executions.executor import ExecutorError, LogLine
from taskhub.executions.existing_sandbox import sandbox_is_missing
from taskhub.executions.log_reading import log_tail
from taskhub.mcp.errors import failure_body
from taskhub.mcp.fields import HolderSerializer, NamedSerializer, TaskIdField, VariablesField
from taskhub.mcp.principal import Requester
from taskhub.mcp.task_tools import HeldTaskSerializer, lease_shown, touch
from taskhub.mcp.tools import Arguments, Tool
from taskhub.models import Execution
from taskhub.roles import Role
from taskhub.selectors.executions import execution_get_for
from taskhub.services.executions import execution_queue, execution_request_stop
from taskhub.web.thread_pool import on_web_thread, with_database, with_database_writing

_LEFT_OUT: Final = frozenset({"session_name", "command_id", "log_file", "queued_at", "stop_requested_at"})


class ExecuteTaskSerializer(HolderSerializer, ExecuteSerializer):
    task_id = TaskIdField()
    env = VariablesField(required=False)  # type: ignore[assignment]  # REST's, as a list

    def to_internal_value(self, data: Any) -> Any:
        guard_size(data)
        return super().to_internal_value(data)


class ExecutionPlaceSerializer(NamedSerializer):
    task_id = TaskIdField()
    execution_id = IdField(required=False, help_text="Default: newest.")
    tail = serializers.IntegerField(min_value=0, max_value=1000, default=50, help_text="Last log lines.")


class LineSerializer(LogLineSerializer):
    """A line of the log; of its time, hour, minute and second, in UTC."""

    partial = serializers.BooleanField(required=False)
    timestamp = None  # type: ignore[assignment]  # DRF's way to leave a field out
    time = serializers.DateTimeField(source="timestamp", format="%H:%M:%S")


async def _execute(requester: Requester, arguments: Arguments) -> Any:
    is_missing = await sandbox_is_missing(arguments.get("sandbox_id", ""))
    return await with_database_writing(_queue, requester, {**arguments, "sandbox_is_missing": is_missing})


def _queue(requester: Requester, arguments: Arguments) -> Any:
    script = arguments.pop("script_content", None)
    actor = requester.acting(arguments)
    execution = execution_queue(actor=actor, script=script, **arguments)
    lease = lease_shown(actor, arguments["task_id"])
    return {"execution_id": execution.pk, "status": execution.status, "lease": lease}


async def _get(requester: Requester, arguments: Arguments) -> Any:
    count = arguments.pop("tail")
    execution, state = await with_database(_find, requester, arguments)
    return {**state, **await _log(execution, count)}


def _find(requester: Requester, arguments: Arguments) -> tuple[Execution, dict[str, Any]]:
    touch(requester, arguments)
    execution = execution_get_for(user=requester.user, **arguments)
    return execution, state_of(execution)


def state_of(execution: Execution) -> dict[str, Any]:
    """REST's answer without what is empty, and without what only a stream or an operator needs; and `files`, with
    their sizes."""
    told = ExecutionSerializer(execution).data
    empty = [None, ""]
    state = {name: value for name, value in told.items() if name not in _LEFT_OUT and value not in empty}
    files = dict(execution.artifacts.values_list("path", "size")) if execution.artifacts_kept else {}
    # Results first: where the answer is too long, the end is cut.
    names = sorted(files, key=lambda path: (not path.startswith(RESULTS), path))
    return {**state, **({"files": {name: files[name] for name in names}} if files else {})}


async def _log(execution: Execution, count: int) -> dict[str, Any]:
    """The log's last lines, or the error of the sandbox service; the status is returned in both cases."""
    if not count:
        return {"lines": [], "log_error": None}
    try:
        lines = (await log_tail(execution, count)).lines
    except ExecutorError as error:
        return {"lines": [], "log_error": failure_body(error)["error"]}
    return {"lines": await on_web_thread(_shown, lines), "log_error": None}


def _shown(lines: list[LogLine]) -> Any:
    return LineSerializer(lines, many=True).data


def _stop(requester: Requester, arguments: Arguments) -> Any:
    execution = execution_request_stop(actor=requester.acting(arguments), **arguments)
    return {"execution_id": execution.pk, "status": execution.status, "ending": execution.shown_ending}


EXECUTION_TOOLS = (
    Tool(
        name="execute_task",
        title="Run a script",
        description="Run a task's script in a sandbox; the task becomes inprogress. Poll get_execution. "
        "Default: the description's first ```bash block.",
        takes=ExecuteTaskSerializer,
        run=_execute,
        role=Role.AGENT,
        destroys=True,
    ),
    Tool(
        name="get_execution",
        title="Read an execution",
        description="An execution and its log's end. Poll until it is completed, failed, stopped, timed_out or lost.",
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
