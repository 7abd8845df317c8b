"""What the end of a script means: status, error code and sentence."""

from __future__ import annotations

from typing import Final

from taskhub.executions.executor import ExecutorError, Observation, ScriptEnd, Stopped
from taskhub.models import Execution, ExecutionStatus, Leftover
from taskhub.services.executions import Outcome

_ROUND: Final = {
    "mark": ("ended_round_runner", "The script did not end when it was asked to; its processes were killed."),
    "session": (
        "ended_with_session",
        "The script could not be ended through its runner; it was ended with its session. Its exit code is not known.",
    ),
    "sandbox": (
        "ended_with_sandbox",
        "The script could not be ended inside its sandbox. Its exit code is not known.",
    ),
}
_DIED: Final = (
    "runner_died",
    "The process that ran the script was killed, by the script itself or by the sandbox. Its exit code is not known.",
)
_STOPPING: Final = " Its sandbox is being stopped."
_POSSIBLE: Final = " Processes of the script that left its session may still run in the sandbox."


def outcome_of_end(execution: Execution, end: ScriptEnd) -> Outcome:
    """Of a script whose end the runner told."""
    if end.reason == "killed":
        return _outcome(execution, _DIED, Leftover.NONE)
    if end.reason == "interpreter":
        return _outcome(execution, ("interpreter_missing", _no_interpreter(execution)), Leftover.NONE, end.exit_code)
    return Outcome(_status(execution, end.exit_code), exit_code=end.exit_code)


def outcome_of_stop(execution: Execution, stopped: Stopped) -> Outcome:
    """Of a script that was ended by us."""
    if stopped.by in {"itself", "signal"} and stopped.end is not None:
        return outcome_of_end(execution, stopped.end)
    code = stopped.end.exit_code if stopped.end is not None and stopped.end.reason != "killed" else None
    reason = _ROUND["mark" if stopped.by in {"itself", "signal"} else stopped.by]
    # Its runner saw to the end of all that it left.
    leftover = Leftover.NONE if stopped.by == "mark" else leftover_of(execution)
    return _outcome(execution, reason, leftover, code)


def outcome_of_dead_runner(execution: Execution, stopped: Stopped) -> Outcome:
    """Of a script whose runner died; `stopped` is how its remains were ended."""
    return _outcome(execution, _DIED, Leftover.NONE if stopped.by == "mark" else leftover_of(execution))


def outcome_of_lost_sandbox(execution: Execution, seen: Observation) -> Outcome:
    """Of a script whose sandbox is gone."""
    if seen.reason == "disk_limit" and not execution.ending:
        words = "Its files took more than the environment's disk, so the sandbox was ended."
        return Outcome(ExecutionStatus.FAILED, error_code="disk_limit", error_message=words)
    status = ExecutionStatus(execution.ending) if execution.ending else ExecutionStatus.LOST
    return Outcome(status, error_code="sandbox_gone", error_message="Its sandbox is gone.")


def leftover_of(execution: Execution) -> Leftover:
    """What may outlive an execution whose runner did not see to its end."""
    return Leftover.POSSIBLE if execution.requested_sandbox_id else Leftover.SANDBOX_STOPPING


def _outcome(
    execution: Execution, reason: tuple[str, str], leftover: Leftover, exit_code: int | None = None
) -> Outcome:
    code, message = reason
    message += {Leftover.SANDBOX_STOPPING: _STOPPING, Leftover.POSSIBLE: _POSSIBLE}.get(leftover, "")
    status = ExecutionStatus(execution.ending) if execution.ending else ExecutionStatus.FAILED
    return Outcome(status, exit_code=exit_code, error_code=code, error_message=message, leftover=leftover)


def _status(execution: Execution, exit_code: int) -> ExecutionStatus:
    if execution.ending:
        return ExecutionStatus(execution.ending)
    return ExecutionStatus.COMPLETED if exit_code == 0 else ExecutionStatus.FAILED


def _no_interpreter(execution: Execution) -> str:
    first = execution.script.split("\n", 1)[0].removeprefix("#!").strip()
    shown = first if len(first) <= 200 else f"{first[:200]}…"  # noqa: PLR2004 - a sentence, not a page
    return f"The sandbox does not have the interpreter that the script's first line names: {shown}"


def outcome_of_error(error: ExecutorError) -> Outcome:
    return Outcome(ExecutionStatus.LOST, error_code=error.code, error_message=error.message)
