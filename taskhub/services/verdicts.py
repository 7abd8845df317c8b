"""Verdicts: what the end of a verification says, written on its task while it is about the work as it is.

A verdict is void from its beginning where what was checked has changed meanwhile. It is void later when a change of the
task, the end of a run, or a new version of the environment changes what would be checked.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any, Final, Protocol
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from taskhub.auth.actor import SYSTEM
from taskhub.executions.artifact_collector import Kept
from taskhub.lib.compiled_sql import update
from taskhub.models import Execution, ExecutionStatus, NoteKind, Task, TaskStatus, Verdict
from taskhub.selectors.evidence import evidence_of, files_digest, stands
from taskhub.services.audit import audit_write
from taskhub.services.evidence import evidence_tell
from taskhub.services.notes import hub_note_add

log = logging.getLogger(__name__)

RETRY: Final = timedelta(seconds=60)
"""After this a verification is repeated, once, that failed because of the sandbox service."""
SUPERSEDED: Final = "superseded"
NO_VERDICT_CODES: Final = frozenset({75, 126, 127})
"""Exit codes that say that a check could not be carried out: EX_TEMPFAIL, not executable, no such command."""
_OF_ENVIRONMENT: Final = frozenset({"sandbox_build_failed", "sandbox_not_held"})
_OF_SERVICE: Final = frozenset({"start_failed", "storage_unavailable", "snapshot_slow", "volume_slow"})
"""Codes of errors, besides those that begin with `sandbox_`."""
FAILURES_TOLD: Final = 3
_VOIDED_AT_ONCE: Final = 200
_WRITTEN: Final = ("verified", "verified_by", "verify_failures", "version", "updated_at")


class Ended(Protocol):
    """How an execution has ended (`executions.Outcome`)."""

    @property
    def status(self) -> ExecutionStatus: ...
    @property
    def exit_code(self) -> int | None: ...
    @property
    def error_code(self) -> str: ...


def files_fields(execution: Execution, ended: Ended, kept: Kept | None) -> dict[str, Any]:
    """The fields of a run that has ended like this and left these files."""
    if kept is None:
        # Whose end was not told has left what was not looked for: lost with its sandbox, or with its runner.
        is_lost = execution.started_at is not None and ended.exit_code is None
        return {"evidence_left_out": 1} if is_lost else {}
    spec = execution.environment.spec if execution.environment is not None else None
    is_all_named = spec is not None and spec.keep is not None
    not_as_they_are = kept.left_out + sum(copy.path_is_masked for copy in kept.copies)
    return {
        "artifacts_kept": len(kept.copies),
        "artifacts_left_out": kept.left_out,
        "files_digest": files_digest((copy.path, copy.sha256) for copy in kept.copies),
        "evidence_left_out": max(not_as_they_are if is_all_named else 0, kept.evidence_left_out),
    }


def verdict_fields(execution: Execution, ended: Ended) -> dict[str, Any]:
    """The fields of a verification that ends like this."""
    verdict = _verdict(execution, ended.status, ended.exit_code, ended.error_code)
    retries = verdict == Verdict.UNAVAILABLE and execution.retries_id is None and not execution.superseded
    is_repeated = retries and execution.stop_requested_at is None and _is_of_service(ended.status, ended.error_code)
    superseded = {"error_code": SUPERSEDED, "error_message": "The task was executed again meanwhile."}
    return {
        "verdict": verdict.value,
        "retry_at": timezone.now() + RETRY if is_repeated else None,
        **(superseded if execution.superseded else {}),
    }


def _verdict(execution: Execution, status: ExecutionStatus, exit_code: int | None, error_code: str) -> Verdict:
    if execution.superseded:
        return Verdict.UNAVAILABLE
    if status == ExecutionStatus.TIMED_OUT and execution.started_at is not None:
        return Verdict.FAILED  # its own time limit, however it was ended
    if error_code or exit_code is None or exit_code in NO_VERDICT_CODES:
        return Verdict.UNAVAILABLE
    if status == ExecutionStatus.COMPLETED:
        return Verdict.PASSED
    return Verdict.FAILED if status == ExecutionStatus.FAILED else Verdict.UNAVAILABLE


def _is_of_service(status: str, error_code: str) -> bool:
    """Another try may end otherwise; not where the environment itself is what the service refuses."""
    if error_code in _OF_ENVIRONMENT:
        return False
    of_service = error_code.startswith("sandbox_") or error_code in _OF_SERVICE
    return status == ExecutionStatus.LOST or of_service


def verdict_exists(execution: Execution) -> bool:
    """Whether the execution's task has a verdict, which the end of a run may make void."""
    if execution.task_id is None:
        return False
    return Task.objects.filter(pk=execution.task_id).exclude(verified="").exists()


def verdict_follow(*, execution: Execution, log_tail: str) -> None:
    """The end of an execution, in the transaction that ends it: of a verification, or of a run of a task that has a
    verdict. The task's row is locked; `log_tail` is of a verification."""
    task = task_locked(execution.task_id)
    if task is None:
        return
    if not execution.is_verification:
        _void_if_changed(task)
    elif not execution.superseded:
        _write(task, execution, log_tail)


def _write(task: Task, execution: Execution, log_tail: str) -> None:
    if evidence_of(task).fingerprint() != execution.fingerprint:
        log.info("verification %s is about an earlier state of its task", execution.pk)
        return
    before = task.verified
    task.verified, task.verified_by = execution.verdict, execution
    failures = _failures(task, execution)
    task.verify_failures = 0 if failures >= FAILURES_TOLD else failures
    _save(task, before, execution.pk)
    if task.verified == Verdict.FAILED:
        hub_note_add(task=task, kind=NoteKind.REVIEW, text=_told(task, execution, log_tail))
        if failures >= FAILURES_TOLD:
            _ask(task)


def task_locked(task_id: UUID | None) -> Task | None:
    """The row, locked until the transaction ends; None for a deleted task."""
    if task_id is None:
        return None
    return Task.objects.select_for_update().defer("folded_text").order_by().filter(pk=task_id).first()


def _failures(task: Task, execution: Execution) -> int:
    """In a row, with this one; one that was not carried out says nothing."""
    if execution.verdict == Verdict.UNAVAILABLE:
        return task.verify_failures
    return task.verify_failures + 1 if execution.verdict == Verdict.FAILED else 0


def _save(task: Task, before: str, execution_id: UUID | None) -> None:
    task.version += 1
    update(task, _WRITTEN)
    audit_write(
        actor=SYSTEM,
        action="task:verify",
        task_id=task.pk,
        execution_id=execution_id,
        changes={"verified": [before, task.verified]},
    )
    evidence_tell(task)


def _told(task: Task, execution: Execution, log_tail: str) -> str:
    code = execution.exit_code
    how = f"with exit code {code}" if execution.status == ExecutionStatus.FAILED else "at its time limit"
    head = f"The verification failed {how} (execution {execution.pk})."
    if execution.private_entry is not None and not task.private:
        return f"{head} The task was private while it ran, so its last lines are in its log alone."
    if not log_tail:
        return f"{head} It wrote nothing."
    fence = "```"
    while fence in log_tail:
        fence += "`"
    return f"{head} Its last lines:\n\n{fence}text\n{log_tail}\n{fence}"


def _ask(task: Task) -> None:
    words = f"The verification has failed {FAILURES_TOLD} times in a row."
    if task.open_question_id is None and task.status != TaskStatus.DONE:
        words += " How shall the work go on? The last review notes have what the checks said."
        hub_note_add(task=task, kind=NoteKind.QUESTION, text=words)
    else:
        hub_note_add(task=task, kind=NoteKind.NOTE, text=words)


def _void_if_changed(task: Task) -> None:
    if task.verified and not stands(task, evidence_of(task)):
        before, task.verified = task.verified, ""
        _save(task, before, None)


def verdicts_void() -> int:
    """Void the verdicts of which a newer version of the environment exists; how many there were."""
    verified_in = Task.objects.exclude(verified="").filter(verified_by__environment__isnull=False)
    outdated = verified_in.exclude(verified_by__environment__number=F("verified_by__environment__environment__version"))
    voided = 0
    for task_id in list(outdated.order_by("pk").values_list("pk", flat=True)[:_VOIDED_AT_ONCE]):
        with transaction.atomic():
            task = task_locked(task_id)
            if task is not None and task.verified:
                _void_if_changed(task)
                voided += not task.verified
    return voided
