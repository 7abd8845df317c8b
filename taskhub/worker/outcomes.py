"""What the end of a script means: status, error code and sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from taskhub.executions.executor import CHECKOUT_FAILED, ExecutorError, Observation, ScriptEnd, Stopped
from taskhub.models import EnvironmentSpec, Execution, ExecutionStatus, Leftover
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
_UNREAD: Final = (
    "end_unknown",
    "The script has ended, but its log, which says how, was deleted or locked. Its exit code is not known.",
)
_UNBEGUN: Final = ("runner_died", "The sandbox did not begin the script: the shell that was to run it has ended.")
_STOPPING: Final = " Its sandbox is being stopped."
_POSSIBLE: Final = " Processes of the script that left its session may still run in the sandbox."


# Why a script was not begun, by the runner's word.
_GIT_MISSING: Final = (
    "git_missing",
    "The sandbox does not have git, so the environment's repository was not checked out.",
)
_CHECKOUT: Final = {
    "changes": "What the last run has changed does not apply to the commit that it was made on.",
    "ref": "The repository does not have the branch, tag or commit that the environment names.",
    "redirect": "The repository's server redirects; the environment must have the address that it leads to.",
    "host": "The repository's server was not reached from the sandbox.",
    "repository": "The server does not have the repository, or does not show it to this credential.",
    "submodule": "A submodule of the repository was not checked out.",
}
_CHECKOUT_ELSE: Final = "The repository was not checked out."
_REFUSED: Final = "The repository's server refused the environment's credential."
_ASKED: Final = "The repository's server asks for a credential, and the environment has none for it."
_LOG_SAYS: Final = " The log has what git said."


def outcome_of_end(execution: Execution, end: ScriptEnd) -> Outcome:
    """Of a script whose end the runner told."""
    return _before_script(execution, end, _outcome_of_end(execution, end))


def _outcome_of_end(execution: Execution, end: ScriptEnd) -> Outcome:
    if end.reason == "killed":
        return _outcome(execution, _DIED, Leftover.NONE)
    if end.reason == "interpreter":
        return _outcome(execution, ("interpreter_missing", _no_interpreter(execution)), Leftover.NONE, end.exit_code)
    return Outcome(_status(execution, end.exit_code), exit_code=end.exit_code)


def outcome_of_stop(execution: Execution, stopped: Stopped) -> Outcome:
    """Of a script that was ended by us."""
    return _before_script(execution, stopped.end, _outcome_of_stop(execution, stopped))


def _outcome_of_stop(execution: Execution, stopped: Stopped) -> Outcome:
    if stopped.by in {"itself", "signal"} and stopped.end is not None:
        return _outcome_of_end(execution, stopped.end)
    code = stopped.end.exit_code if stopped.end is not None and stopped.end.reason != "killed" else None
    reason = _ROUND["mark" if stopped.by in {"itself", "signal"} else stopped.by]
    # Its runner saw to the end of all that it left.
    leftover = Leftover.NONE if stopped.by == "mark" else leftover_of(execution)
    return _outcome(execution, reason, leftover, code)


def outcome_of_dead_runner(
    execution: Execution, stopped: Stopped, *, has_begun: bool, log_is_lost: bool = False
) -> Outcome:
    """Of a script whose runner died, or never began; `stopped` is how its remains were ended.

    Where its log is lost, the runner may have said how it ended.
    """
    reason = _UNREAD if log_is_lost else _DIED if has_begun else _UNBEGUN
    found = _outcome(execution, reason, Leftover.NONE if stopped.by == "mark" else leftover_of(execution))
    return _before_script(execution, None, found)


def _before_script(execution: Execution, end: ScriptEnd | None, found: Outcome) -> Outcome:
    """`found`, or what it comes to where its script had not begun, and so has no exit code."""
    if not execution.is_set_up:
        return found
    if execution.stop_requested_at is not None or execution.ending == ExecutionStatus.STOPPED:
        return replace(found, status=ExecutionStatus.STOPPED, exit_code=None)
    code, message = _why_not_begun(execution, end)
    return replace(found, status=ExecutionStatus.FAILED, exit_code=None, error_code=code, error_message=message)


def _why_not_begun(execution: Execution, end: ScriptEnd | None) -> tuple[str, str]:
    spec = execution.environment.spec if execution.environment is not None else EnvironmentSpec()
    reason = end.reason if end is not None else "killed"
    in_checkout = spec.repository is not None and not execution.commit
    code, what = ("checkout_failed", "checkout") if in_checkout else ("setup_failed", "setup")
    if reason == "prepare":
        code, what = "prepare_failed", "prepare"
    if execution.ending == ExecutionStatus.TIMED_OUT:
        return code, f"The environment's {what} had not ended after {spec.setup_limit_s} s."
    if reason in {"prepare", "setup"} and end is not None:
        return code, f"The environment's {what} ended with exit code {end.exit_code}; the log has its output."
    if reason == "given":
        return code, "The given files could not be copied into the working folder."
    if reason == "git":
        return _GIT_MISSING
    if reason in CHECKOUT_FAILED and spec.repository is not None:
        auth = _REFUSED if spec.repository.credential is not None else _ASKED
        words = auth if reason == "auth" else _CHECKOUT.get(reason, _CHECKOUT_ELSE)
        return "checkout_failed", words + _LOG_SAYS
    return code, f"The process that ran the environment's {what} was killed."


def outcome_of_open_network(ended: Outcome, error: ExecutorError) -> Outcome:
    """Of a script that was not begun, since the network cannot be closed; `ended` is how the rest was ended."""
    if ended.status == ExecutionStatus.STOPPED:
        return ended
    words = f"The network was not closed between setup and script, so the execution was ended. {error.message}"
    return replace(ended, error_code="network_not_closed", error_message=words, error_detail=error.detail)


def outcome_of_lost_sandbox(execution: Execution, seen: Observation) -> Outcome:
    """Of a script whose sandbox is gone."""
    if seen.reason == "disk_limit" and not execution.ending:
        words = "Its files took more than the environment's disk, so the sandbox was ended."
        return Outcome(ExecutionStatus.FAILED, error_code="disk_limit", error_message=words)
    status = ExecutionStatus(execution.ending) if execution.ending else ExecutionStatus.LOST
    if execution.is_set_up and execution.ending == ExecutionStatus.TIMED_OUT:
        status = ExecutionStatus.FAILED
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
    return Outcome(ExecutionStatus.LOST, error_code=error.code, error_message=error.message, error_detail=error.detail)
