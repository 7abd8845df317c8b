"""Executions: queue, start, observe, stop, finish, release. The transitions stand in `models/execution.py`.

Every write that moves an execution on is a conditional UPDATE under the lease's fence. If it changes no row, another
worker was faster, and the caller drops what it has.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast
from uuid import UUID

from django.db import transaction
from django.db.models import Case, F, Value, When
from django.utils import timezone

from taskhub.auth.actor import SYSTEM, Actor
from taskhub.auth.sandbox_access import guard_sandbox
from taskhub.errors import Conflict, ExecutionActive
from taskhub.executions.artifact_collector import Kept
from taskhub.executions.executor import Place
from taskhub.executions.log_archive import Archived
from taskhub.executions.masking import Secret
from taskhub.executions.script import script_to_run
from taskhub.models import (
    ACTIVE_STATUSES,
    NOT_SUPERSEDED,
    Execution,
    ExecutionStatus,
    Leftover,
    MetricName,
    Task,
    TaskStatus,
    WaitingReason,
)
from taskhub.observability.metrics_store import meter
from taskhub.selectors.admission import positions
from taskhub.selectors.evidence import active_execution
from taskhub.services import execution_inputs as inputs
from taskhub.services import tasks
from taskhub.services.artifacts import artifacts_create
from taskhub.services.audit import audit_write
from taskhub.services.dispatch import (
    EXECUTION_END,
    EXECUTION_STOP_SANDBOX,
    EXECUTIONS_RELEASE,
    send_job_on_commit,
)
from taskhub.services.execution_environment import Wanted, ended_now, environment_choose
from taskhub.services.execution_leases import execution_take_lease
from taskhub.services.execution_moves import execution_move, execution_run, execution_tell, lease_fields
from taskhub.services.execution_rows import execution_create
from taskhub.services.leases import lease_after_run, lease_guard
from taskhub.services.order import order_lock_if_done
from taskhub.services.sandbox_sizes import size_made
from taskhub.services.verdicts import files_fields, verdict_exists, verdict_fields, verdict_follow

log = logging.getLogger(__name__)

START_ATTEMPTS: Final = 5
NO_MARKS: Final = ""
"""The `log_token` of an execution that no worker has begun to start."""
NO_SECRETS: Final = ""
"""What is kept of secret values once they are not needed any more."""


_OUTCOME: Final = ("status", "exit_code", "error_code", "error_message", "error_detail")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an execution ended. `error_code` and `error_message` say why where the script itself does not.

    `error_detail` has the sandbox service's own words, for operators. `leftover` is what may outlive it.
    """

    status: ExecutionStatus
    exit_code: int | None = None
    error_code: str = ""
    error_message: str = ""
    error_detail: str = ""
    leftover: Leftover = Leftover.NONE


@transaction.atomic
def execution_queue(
    *,
    actor: Actor,
    task_id: UUID,
    script: str | None = None,
    sandbox_id: str = "",
    timeout_s: int | None = None,
    env: Mapping[str, str | Secret] | None = None,
    merge_output: bool = False,
    all_files: bool = False,
    sandbox_is_missing: bool = False,
    files: Sequence[inputs.Given] = (),
    same_sandbox: bool = False,
    environment: str | None = None,
) -> Execution:
    """Queue a run of the task; it becomes `inprogress`. Without `script`, the first bash block of its description runs.

    `sandbox_id` is the id of a sandbox that exists, unless `sandbox_is_missing`; `same_sandbox`: that of the task's
    last execution. `files` are in its working folder. `environment` is a name; None and "": the task's, or the hub's.
    An agent whose requests claim takes the task's lease. Raises as `environment_choose` does; NotFound; Forbidden for
    another task's sandbox; LeaseLost; Held; Conflict; ExecutionActive, -Ending; TransitionRefused; Invalid; TooLarge.
    """
    order_lock_if_done(task_id)
    task = tasks.task_lock(actor, task_id)
    claim = lease_guard(actor, task)
    script = script_to_run(script, task.description)
    active = active_execution(task)
    if active is not None:
        _make_way(actor, task, active)
    if same_sandbox:
        sandbox_id = inputs.sandbox_of_last(task)
    if sandbox_id:
        guard_sandbox(user=actor.user, task=task, sandbox_id=sandbox_id, is_missing=sandbox_is_missing)
    chosen = environment_choose(actor=actor, task=task, wanted=Wanted(environment, sandbox_id, timeout_s, env or {}))
    plain, sealed = inputs.env_apart(env or {})
    execution = execution_create(
        actor=actor,
        task=task,
        script=script,
        env=plain,
        secret_env=sealed,
        variables={name: isinstance(value, Secret) for name, value in (env or {}).items()},
        timeout_s=chosen.timeout_s,
        environment=chosen.version,
        requested_sandbox_id=sandbox_id,
        account=actor.name,
        sandbox_id=sandbox_id,
        merge_output=merge_output,
        all_files=all_files,
    )
    inputs.given_files_create(actor=actor, execution=execution, files=files)
    taken = tasks.task_take(actor, task) if claim is None else {}
    tasks.task_apply(actor=actor, task=task, fields={"status": TaskStatus.INPROGRESS.value, **taken})
    if active is not None:
        # Last: the end of a queued one is an event, and rows are locked before events are numbered.
        _end_by_request(active)
    return execution


def _make_way(actor: Actor, task: Task, active: Execution) -> None:
    """For a run: a verification is superseded, to end beside it. Raises ExecutionActive, -Ending for another run."""
    if not active.is_verification:
        tasks.guard_ending(active)
        raise execution_active(active)
    active.superseded = True
    active.save(update_fields=["superseded"])
    # Its row is locked now: no worker moves it on until it is ended.
    active.refresh_from_db(fields=["status", "fence", "command_id", "ending", "stop_requested_at"])
    if active.shown_ending is not None:
        # What the task shows from here on is the run's.
        _show_ending(active, "")
        task.ending = ""
    audit_write(actor=actor, action="execution:supersede", task_id=active.task_id, execution_id=active.pk)


def execution_active(active: Execution) -> ExecutionActive:
    """What is told to a request for another one."""
    return ExecutionActive(
        "The task is being executed already; wait for its end or stop it.", details={"execution_id": str(active.pk)}
    )


def _end_by_request(execution: Execution) -> None:
    """It was asked for the first time, or is asked for again."""
    if execution.stop_requested_at is None:
        execution.stop_requested_at = timezone.now()
        execution.save(update_fields=["stop_requested_at"])
        if execution.status != ExecutionStatus.QUEUED and not execution.superseded:
            _show_ending(execution, execution.shown_ending or "")
    if execution.status == ExecutionStatus.QUEUED:
        execution_finish(execution=execution, outcome=Outcome(ExecutionStatus.STOPPED))
    elif execution.is_followed:
        send_job_on_commit(EXECUTION_END, execution.pk)


def execution_claim_start(*, execution_id: UUID, lease_s: float, is_queued: bool = False) -> Execution | None:
    """Take an admitted execution, or one whose worker died, to start it; None if that is not to be done.

    `is_queued`: it needs no admission, and leaves the queue by this.
    """
    status = ExecutionStatus.QUEUED if is_queued else ExecutionStatus.STARTING
    leaves = {"status": ExecutionStatus.STARTING, "admitted_at": timezone.now()} if is_queued else {}
    # By whom it is started first: a worker of an earlier release, in the middle of an upgrade, knows no marks.
    token = Case(When(log_token=NO_MARKS, attempts=0, then=Value(secrets.token_hex(32))), default=F("log_token"))
    changes = {"attempts": F("attempts") + 1, "log_token": token, **leaves}
    execution = execution_take_lease(execution_id=execution_id, status=status, lease_s=lease_s, changes=changes)
    if execution is not None and execution.attempts > START_ATTEMPTS:
        # Its starts did not even fail: they took their workers with them.
        outcome = Outcome(ExecutionStatus.FAILED, error_code="start_failed", error_message="It could not be started.")
        execution_finish(execution=execution, outcome=outcome)
        return None
    return execution


def execution_return_to_queue(*, execution: Execution) -> bool:
    """starting → queued: it waits for capacity, and this try does not count. False if another worker was faster.

    `admitted_at` stays: the try may have made a sandbox before it was refused.
    """
    return execution_move(
        execution, status=ExecutionStatus.QUEUED, attempts=max(0, execution.attempts - 1), lease_until=None
    )


def execution_tell_waiting(*, execution: Execution, reason: WaitingReason, position: int | None = None) -> None:
    """A queued execution waits, for this reason; an event tells it when that is new. `position` in the queue, from 1.

    The caller holds the lock of admission, in a transaction.
    """
    if execution.waiting_reason == reason:
        return
    execution.waiting_since = execution.waiting_since or timezone.now()
    execution.waiting_reason = reason
    told = Execution.objects.filter(pk=execution.pk, status=ExecutionStatus.QUEUED).update(
        waiting_reason=reason, waiting_since=execution.waiting_since
    )
    if told:
        place = position or positions([execution.pk]).get(execution.pk)
        execution_tell(execution, "waiting", reason=reason.value, position=place)


@transaction.atomic
def execution_mark_ending(*, execution: Execution, ending: ExecutionStatus) -> bool:
    """It is about to be ended by us: however its script then ends, this is what it will have been."""
    _lock_task(execution)
    if not execution_move(execution, ending=ending.value):
        return False
    if not execution.superseded:
        _show_ending(execution, ending.value)
    return True


def _lock_task(execution: Execution) -> None:
    """Before the execution's row, as a request to stop does: the other way round they could wait for each other."""
    Task.objects.select_for_update().filter(pk=cast("UUID", execution.task_id)).order_by().values_list("pk").first()
    if execution.is_verification:
        execution.refresh_from_db(fields=["superseded", "stop_requested_at", "private_entry"])


def _show_ending(execution: Execution, ending: str) -> None:
    """On its task, too. No change of the task: its version stays."""
    Task.objects.filter(pk=cast("UUID", execution.task_id)).update(ending=ending)


@transaction.atomic
def execution_mark_started(*, execution: Execution, place: Place, lease_s: float | None = None) -> bool:
    """starting → running; False if another worker was faster. With `lease_s` the caller goes on with it."""
    return execution_run(
        execution,
        sandbox_id=place.sandbox_id,
        command_id=place.command_id,
        started_at=timezone.now(),
        waiting_reason="",
        **size_made(place),
        **lease_fields(lease_s),
    )


@transaction.atomic
def execution_request_stop(*, actor: Actor, task_id: UUID, execution_id: UUID | None = None) -> Execution:
    """Ask for the end of the task's active execution; a second request changes nothing.

    With `execution_id` only that one is meant: another that began meanwhile goes on. Raises NotFound for the task;
    LeaseLost; Held; Conflict where it is not being executed. A queued execution ends at once.
    """
    task = tasks.task_lock(actor, task_id)
    lease_guard(actor, task)
    execution = task.executions.select_for_update().filter(NOT_SUPERSEDED, status__in=ACTIVE_STATUSES).first()
    if execution is None or execution_id not in {None, execution.pk}:
        raise Conflict("The task is not being executed.", code="execution_not_active")
    if execution.stop_requested_at is None:
        audit_write(actor=actor, action="execution:stop", task_id=task_id, execution_id=execution.pk)
    _end_by_request(execution)
    return execution


@transaction.atomic
def execution_finish(
    *,
    execution: Execution,
    outcome: Outcome,
    archived: Archived | None = None,
    kept: Kept | None = None,
    log_tail: str = "",
) -> bool:
    """The end, whatever it is; False if another worker was faster. `log_tail`: the last lines of a verification."""
    has_verdict = execution.is_verification or verdict_exists(execution)
    if execution.shown_ending is not None or has_verdict:
        _lock_task(execution)
    is_being_ended = execution.shown_ending is not None
    ends_as = {
        **{name: getattr(outcome, name) for name in _OUTCOME},
        **(verdict_fields(execution, outcome) if execution.is_verification else files_fields(execution, outcome, kept)),
    }
    moved = execution_move(
        execution,
        **ends_as,
        log_lines=archived.lines if archived else None,
        log_truncated=archived.truncated if archived else False,
        leftover=outcome.leftover.value,
        **ended_now(execution),
        lease_until=None,
        waiting_reason="",
    )
    if not moved:
        return False
    inputs.given_files_delete(execution=execution)
    if is_being_ended and not execution.superseded:
        _show_ending(execution, "")
    transaction.on_commit(lambda: _measure_end(execution, outcome))
    if outcome.leftover == Leftover.SANDBOX_STOPPING:
        send_job_on_commit(EXECUTION_STOP_SANDBOX, execution.pk)
    if kept is not None:
        artifacts_create(execution=execution, copies=kept.copies)
    _tell_end(execution)
    if has_verdict:
        verdict_follow(execution=execution, log_tail=log_tail)
    if Execution.objects.filter(status=ExecutionStatus.QUEUED).exclude(waiting_reason="").exists():
        # Its place, and its sandbox if that is what others wait for. One without a reason has just been queued.
        send_job_on_commit(EXECUTIONS_RELEASE)
    return True


def _tell_end(execution: Execution) -> None:
    """Audit and event; the lease of its task's holder begins anew, unless it was a verification."""
    if not execution.is_verification:
        lease_after_run(execution)
    audit_write(
        actor=SYSTEM,
        action="execution:finish",
        task_id=execution.task_id,
        execution_id=execution.pk,
        changes={"status": [None, str(execution.status)], "exit_code": [None, execution.exit_code]},
    )
    execution_tell(execution, str(execution.status))


def _measure_end(execution: Execution, outcome: Outcome) -> None:
    meter.count(MetricName.EXECUTION_ENDS, outcome.status.value)
    if execution.started_at is not None:
        ran_s = (timezone.now() - execution.started_at).total_seconds()
        meter.add(MetricName.EXECUTION_S, ran_s, outcome.status.value)


def execution_mark_sandbox_stopped(*, execution: Execution) -> None:
    """Nothing of it can run any more."""
    Execution.objects.filter(pk=execution.pk, leftover=Leftover.SANDBOX_STOPPING).update(leftover=Leftover.NONE)


def execution_mark_released(*, execution: Execution) -> None:
    Execution.objects.filter(pk=execution.pk).update(released_at=timezone.now(), secret_env=NO_SECRETS)
