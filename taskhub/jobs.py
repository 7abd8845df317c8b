"""Celery's jobs: each fetches, calls a service or the executor, and holds the retry policy.

No job waits for a script. `execution_start` starts one, `executions_reconcile` looks at all running ones every
second, `executions_watch_files` at their files, `execution_end` settles one that ended, was stopped, ran too long or is
lost. Each may be killed at any time: the row says what is to be done, the lease says who does it, and the next
reconciliation sends what was lost.
"""

from __future__ import annotations

import logging
import time
from contextlib import aclosing
from datetime import timedelta
from typing import Final
from uuid import UUID

from asgiref.sync import async_to_sync, sync_to_async
from celery import shared_task
from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from taskhub.events import outbox
from taskhub.events.connections import stream_connections_drop_orphans
from taskhub.executions import artifact_collector, get_executor, log_archive
from taskhub.executions.executor import ExecutorError, Launch, Observation, Place, execution_place
from taskhub.lib.locks import alone
from taskhub.models import ACTIVE_STATUSES, Execution, ExecutionStatus, MetricName
from taskhub.observability.metrics_store import meter, trim_measures
from taskhub.services import admission, executions, idempotency, tokens
from taskhub.services import artifacts as artifacts_services
from taskhub.services.dispatch import EXECUTION_END, EXECUTION_START, EXECUTIONS_RELEASE, send_job
from taskhub.services.executions import Outcome
from taskhub.services.file_changes import file_changes_tell

log = logging.getLogger(__name__)

START_LEASE_S: Final = 60.0
END_LEASE_S: Final = 30.0
ARCHIVE_LEASE_S: Final = 120.0
LOOK_S: Final = 15.0
"""The longest a look may take: a killed worker holds the others up for no longer."""
RETRY_S: Final = 5.0
RELEASE_S: Final = 60.0
"""The longest that one round of releases holds up the next."""
MEASURES_KEEP: Final = timedelta(days=2)
FILES_REST_S: Final = 10.0
"""So long the files of a sandbox that does not answer are left alone."""
LAST_LOOKS: Final = 3
UNREACHABLE_AFTER: Final = timedelta(minutes=10)
"""Past its deadline for this long with a sandbox service that does not answer, an execution is lost."""


@shared_task
def execution_start(execution_id: str) -> None:
    _admit(besides=UUID(execution_id))
    execution = executions.execution_claim_start(execution_id=UUID(execution_id), lease_s=START_LEASE_S)
    if execution is None:
        return
    if execution.stop_requested_at is not None:
        _abandon_start(execution, Outcome(ExecutionStatus.STOPPED))
        return
    try:
        place = async_to_sync(get_executor().launch)(_launch(execution))
    except ExecutorError as error:
        if error.waits_for == "capacity":
            admission.admission_note_full(execution=execution)
        elif error.waits_for == "rate":
            admission.admission_note_throttled(execution=execution, retry_after_s=error.retry_after_s or RETRY_S)
        else:
            _start_failed(execution, error)
        return
    if executions.execution_mark_started(execution=execution, place=place):
        log.info("execution %s runs in sandbox %s", execution.pk, place.sandbox_id)
        admission.admission_note_started()


@shared_task
def executions_admit() -> None:
    """Start what may start now."""
    _admit()


def _admit(besides: UUID | None = None) -> None:
    """Admit, and send the jobs; not that of `besides`, which is the caller's."""
    for execution_id in admission.executions_admit():
        if execution_id != besides:
            send_job(EXECUTION_START, execution_id)


def _launch(execution: Execution) -> Launch:
    return Launch(
        execution_id=execution.pk,
        session_name=execution.session_name,
        script=execution.script,
        timeout_s=execution.timeout_s,
        sandbox_id=execution.requested_sandbox_id,
        env=execution.env,
    )


def _start_failed(execution: Execution, error: ExecutorError) -> None:
    if not error.permanent and execution.attempts < executions.START_ATTEMPTS:
        log.warning("execution %s cannot start yet: %s", execution.pk, error.code)
        executions.execution_postpone(execution=execution, retry_s=RETRY_S * execution.attempts)
        return
    execution.refresh_from_db(fields=["stop_requested_at"])
    status = ExecutionStatus.FAILED if execution.stop_requested_at is None else ExecutionStatus.STOPPED
    _abandon_start(execution, Outcome(status, error_code=error.code, error_message=error.message))


def _abandon_start(execution: Execution, outcome: Outcome) -> None:
    """The end of an execution that was not seen to start. An earlier, failed try may have started it all the same."""
    if execution.attempts > 1:
        try:
            _release(execution)
        except ExecutorError as error:
            # Nothing answers: what it made is given back later, by `executions_release`.
            log.warning("execution %s ends without its sandbox being seen: %s", execution.pk, error.code)
    executions.execution_finish(execution=execution, outcome=outcome)


def _release(execution: Execution) -> None:
    """Also where the start failed half-way: sandbox and session are found by name. Raises ExecutorError."""
    place = Place(execution.pk, execution.sandbox_id, execution.session_name, execution.command_id)
    async_to_sync(get_executor().release)(place, made_sandbox=not execution.requested_sandbox_id)


@shared_task
def executions_reconcile() -> None:
    """One look at everything active."""
    with alone("taskhub:reconcile", at_most_s=LOOK_S) as is_ours:
        if is_ours:
            _resend_starts()
            _look_at_running()


def _resend_starts() -> None:
    """Admitted ones whose job was lost, or whose worker died, or that are due for another try; and those that wait."""
    now = timezone.now()
    unsent = Q(lease_until__isnull=True, admitted_at__lt=now - timedelta(seconds=RETRY_S))
    lost = Execution.objects.filter(unsent | Q(lease_until__lt=now), status=ExecutionStatus.STARTING)
    for execution_id in lost.values_list("pk", flat=True):
        send_job(EXECUTION_START, execution_id)
    _admit()
    if admission.waiting_for_capacity():
        send_job(EXECUTIONS_RELEASE)


def _look_at_running() -> None:
    now = timezone.now()
    running = list(
        Execution.objects.filter(status=ExecutionStatus.RUNNING)
        .filter(Q(lease_until__isnull=True) | Q(lease_until__lt=now))
        .defer("script", "env")
    )
    if not running:
        return
    began = time.monotonic()
    seen = async_to_sync(get_executor().observe)([execution_place(execution) for execution in running])
    meter.add(MetricName.POLL_MS, 1000 * (time.monotonic() - began), "executions")
    for execution, observation in zip(running, seen, strict=True):
        if (
            observation.state in {"ended", "gone"}
            or execution.is_overdue(now)
            or execution.stop_requested_at is not None
        ):
            send_job(EXECUTION_END, execution.pk)


@shared_task
def executions_watch_files() -> None:
    """One look at the files of everything that runs. It is apart from the reconciliation, so that it delays no end."""
    with alone("taskhub:files", at_most_s=LOOK_S) as is_ours:
        if is_ours:
            _rested()
            running = Execution.objects.filter(status=ExecutionStatus.RUNNING).exclude(pk__in=list(_resting))
            _tell_changes(list(running.select_related("task").defer("script", "env")))


_resting: Final[dict[UUID, float]] = {}
"""Executions whose files this process leaves alone until then: their sandboxes did not answer."""


def _rested() -> None:
    now = time.monotonic()
    for execution_id, until in list(_resting.items()):
        if until <= now:
            _resting.pop(execution_id, None)


def _tell_last_changes(execution: Execution) -> None:
    """Everything up to the end of the script. A look that is under way elsewhere may be a little faster."""
    for _ in range(LAST_LOOKS):
        if _tell_changes([execution]):
            return
        execution.refresh_from_db(fields=["files_seen"])


def _tell_changes(watched: list[Execution]) -> bool:
    """Whether nobody else told anything meanwhile."""
    return not watched or async_to_sync(_tell_each)(watched)


async def _tell_each(watched: list[Execution]) -> bool:
    """Each is told as soon as its sandbox has answered."""
    places = {execution_place(execution): execution for execution in watched}
    looks = get_executor().changed_files({place: execution.files_seen for place, execution in places.items()})
    all_told = True
    async with aclosing(looks):
        async for place, changes in looks:
            if changes is None:
                _resting[place.execution_id] = time.monotonic() + FILES_REST_S
            else:
                all_told &= await sync_to_async(file_changes_tell)(execution=places[place], changes=changes)
    return all_told


@shared_task
def execution_end(execution_id: str) -> None:
    """Settle a running execution: stop it if it is to be stopped, keep its log and files, say how it ended."""
    execution = executions.execution_take_lease(
        execution_id=UUID(execution_id), status=ExecutionStatus.RUNNING, lease_s=END_LEASE_S
    )
    if execution is None:
        return
    place = execution_place(execution)
    archived = kept = None
    try:
        outcome = _settle(execution, place)
        if outcome and outcome.status != ExecutionStatus.LOST:
            executions.execution_extend_lease(execution=execution, lease_s=ARCHIVE_LEASE_S)
            archived = async_to_sync(log_archive.write)(execution.log_file, get_executor().follow_log(place))
            _tell_last_changes(execution)
            executions.execution_extend_lease(execution=execution, lease_s=ARCHIVE_LEASE_S)
            kept = async_to_sync(artifact_collector.keep)(get_executor(), place)
    except ExecutorError as error:
        log.warning("execution %s cannot be settled yet: %s", execution.pk, error.code)
        outcome, archived, kept = _give_up(execution, error), None, None
    if outcome is None:
        executions.execution_postpone(execution=execution, retry_s=RETRY_S)
        return
    if executions.execution_finish(execution=execution, outcome=outcome, archived=archived, kept=kept):
        log.info("execution %s has ended: %s", execution.pk, outcome.status.value)


def _settle(execution: Execution, place: Place) -> Outcome | None:
    """How it ended; None if it goes on after all."""
    executor = get_executor()
    (seen,) = async_to_sync(executor.observe)([place])
    if seen.state == "ended":
        return _ended(execution, seen)
    if seen.state == "gone":
        return Outcome(ExecutionStatus.LOST, error_code="sandbox_gone", error_message="Its sandbox is gone.")
    if execution.stop_requested_at is None and not execution.is_overdue(timezone.now()):
        return None
    ending = ExecutionStatus.STOPPED if execution.stop_requested_at is not None else ExecutionStatus.TIMED_OUT
    # Before the first signal: should this worker die now, the next one knows why the script has ended.
    if not executions.execution_mark_ending(execution=execution, ending=ending):
        return None
    return _ended(execution, async_to_sync(executor.stop)(place))


def _ended(execution: Execution, seen: Observation) -> Outcome:
    if execution.ending:
        return Outcome(ExecutionStatus(execution.ending), exit_code=seen.exit_code)
    status = ExecutionStatus.COMPLETED if seen.exit_code == 0 else ExecutionStatus.FAILED
    return Outcome(status, exit_code=seen.exit_code)


def _give_up(execution: Execution, error: ExecutorError) -> Outcome | None:
    """None: try again. A permanent error, or silence long past the deadline, is the end."""
    if error.permanent or execution.is_overdue(timezone.now(), by=UNREACHABLE_AFTER):
        return Outcome(ExecutionStatus.LOST, error_code=error.code, error_message=error.message)
    return None


@shared_task
def executions_release() -> None:
    """Give back sessions and sandboxes some time after the end, so that viewers can still look at them.

    Where executions wait for the room that kept sandboxes take, these go at once, the oldest first.
    """
    with alone("taskhub:release", at_most_s=RELEASE_S) as is_ours:
        if is_ours:
            _release_due()
    _admit()


def _release_due() -> None:
    until = timezone.now() - timedelta(seconds=settings.TASKHUB_SANDBOX_KEEP_S)
    ended = Execution.objects.filter(released_at__isnull=True, finished_at__isnull=False)
    ended = ended.exclude(status__in=ACTIVE_STATUSES).defer("script", "env").order_by("finished_at")
    due = list(ended.filter(finished_at__lt=until)[:100])
    if not due and (needed := admission.waiting_for_capacity()):
        due = list(ended.filter(requested_sandbox_id="")[: min(needed, 100)])
    for execution in due:
        try:
            if execution.attempts:
                _release(execution)
        except ExecutorError as error:
            log.warning("the sandbox of execution %s is not released yet: %s", execution.pk, error.code)
            if not error.permanent:
                continue
        executions.execution_mark_released(execution=execution)


@shared_task
def tokens_expire() -> None:
    """Retention: expired API tokens are deleted."""
    tokens.tokens_expire()


@shared_task
def idempotency_keys_trim() -> None:
    """Retention: answers to requests with an Idempotency-Key are kept for 24 hours."""
    idempotency.idempotency_trim()


@shared_task
def artifacts_trim() -> None:
    """Retention: artifacts older than `TASKHUB_ARTIFACTS_KEEP` go, and those of deleted tasks."""
    deleted = artifacts_services.artifacts_trim(before=timezone.now() - settings.TASKHUB_ARTIFACTS_KEEP)
    if deleted:
        log.info("%d artifacts deleted", deleted)


@shared_task
def measures_trim() -> None:
    """What was measured is kept for a little longer than the dashboard looks back."""
    trim_measures(before=timezone.now() - MEASURES_KEEP)


@shared_task
def events_trim() -> None:
    """Retention: events older than `TASKHUB_EVENTS_KEEP` go, and the streams of processes that have died."""
    deleted = outbox.trim(timezone.now() - settings.TASKHUB_EVENTS_KEEP)
    if deleted:
        log.info("%d expired events deleted", deleted)
    stream_connections_drop_orphans()
