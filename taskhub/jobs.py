"""Celery's jobs: each fetches, calls a service or the executor, and holds the retry policy.

No job waits for a script. `execution_start` starts one, `executions_reconcile` looks at all running ones every
second, `execution_end` settles one that ended, was stopped, ran too long or is lost. Each may be killed at any
time: the row says what is to be done, the lease says who does it, and the next reconciliation sends what was lost.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import redis
from asgiref.sync import async_to_sync
from celery import Task as Job
from celery import shared_task
from django.conf import settings
from django.db.models import Q
from django.utils import timezone
from kombu.exceptions import OperationalError

from taskhub import archive
from taskhub.events import storage
from taskhub.executors import get_executor
from taskhub.executors.base import ExecutorError, Launch, Observation, Place
from taskhub.models import ACTIVE_STATUSES, ApiToken, Execution, ExecutionStatus
from taskhub.services import executions
from taskhub.services.executions import Outcome

log = logging.getLogger(__name__)

START_LEASE_S: Final = 60.0
END_LEASE_S: Final = 30.0
ARCHIVE_LEASE_S: Final = 120.0
LOOK_S: Final = 15.0
"""The longest a look may take: a killed worker holds the others up for no longer."""
RETRY_S: Final = 5.0
UNREACHABLE_AFTER: Final = timedelta(minutes=10)
"""Past its deadline for this long with a sandbox service that does not answer, an execution is lost."""


def enqueue(job: Job[Any, Any], *args: Any) -> None:
    """Send a job; where the broker is away, the next reconciliation sends it instead."""
    try:
        job.apply_async(args=args)
    except (OperationalError, redis.RedisError) as error:
        log.warning("%s is not sent now (%s); reconciliation will", job.name, type(error).__name__)


@shared_task
def execution_start(execution_id: str) -> None:
    execution = executions.execution_claim_start(execution_id=UUID(execution_id), lease_s=START_LEASE_S)
    if execution is None:
        return
    if execution.stop_requested_at is not None:
        _abandon_start(execution, Outcome(ExecutionStatus.STOPPED))
        return
    try:
        place = async_to_sync(get_executor().launch)(_launch(execution))
    except ExecutorError as error:
        _start_failed(execution, error)
        return
    executions.execution_mark_started(execution=execution, place=place)


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
    """One look at everything active. One that overruns is not joined by a second, unless it takes longer than 15 s."""
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2) as client:
        lock = client.lock("taskhub:reconcile", timeout=LOOK_S, blocking=False)
        if not lock.acquire():
            return
        try:
            _resend_starts()
            _look_at_running()
        finally:
            if lock.owned():
                lock.release()


def _resend_starts() -> None:
    """Queued ones whose job was lost, and starting ones whose worker died or that are due for another try."""
    now = timezone.now()
    lost = Q(status=ExecutionStatus.QUEUED, queued_at__lt=now - timedelta(seconds=RETRY_S)) | Q(
        status=ExecutionStatus.STARTING, lease_until__lt=now
    )
    for execution_id in Execution.objects.filter(lost).values_list("pk", flat=True):
        enqueue(execution_start, str(execution_id))


def _look_at_running() -> None:
    now = timezone.now()
    running = list(
        Execution.objects.filter(status=ExecutionStatus.RUNNING)
        .filter(Q(lease_until__isnull=True) | Q(lease_until__lt=now))
        .defer("script", "env")
    )
    if not running:
        return
    seen = async_to_sync(get_executor().observe)([executions.execution_place(execution) for execution in running])
    for execution, observation in zip(running, seen, strict=True):
        if (
            observation.state in {"ended", "gone"}
            or execution.is_overdue(now)
            or execution.stop_requested_at is not None
        ):
            enqueue(execution_end, str(execution.pk))


@shared_task
def execution_end(execution_id: str) -> None:
    """Settle a running execution: stop it if it is to be stopped, archive its log, say how it ended."""
    execution = executions.execution_take_lease(
        execution_id=UUID(execution_id), status=ExecutionStatus.RUNNING, lease_s=END_LEASE_S
    )
    if execution is None:
        return
    place = executions.execution_place(execution)
    try:
        outcome = _settle(execution, place)
        executions.execution_extend_lease(execution=execution, lease_s=ARCHIVE_LEASE_S)
        archived = _archive(execution, place, outcome) if outcome else None
    except ExecutorError as error:
        log.warning("execution %s cannot be settled yet: %s", execution.pk, error.code)
        outcome, archived = _give_up(execution, error), None
    if outcome is None:
        executions.execution_postpone(execution=execution, retry_s=RETRY_S)
        return
    executions.execution_finish(execution=execution, outcome=outcome, archived=archived)


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


def _archive(execution: Execution, place: Place, outcome: Outcome) -> archive.Archived | None:
    if outcome.status == ExecutionStatus.LOST:
        return None
    return async_to_sync(archive.write)(execution.log_file, get_executor().follow_log(place))


def _give_up(execution: Execution, error: ExecutorError) -> Outcome | None:
    """None: try again. A permanent error, or silence long past the deadline, is the end."""
    if error.permanent or execution.is_overdue(timezone.now(), by=UNREACHABLE_AFTER):
        return Outcome(ExecutionStatus.LOST, error_code=error.code, error_message=error.message)
    return None


@shared_task
def executions_release() -> None:
    """Give back sessions and sandboxes some time after the end, so that viewers can still look at them."""
    until = timezone.now() - timedelta(seconds=settings.TASKHUB_SANDBOX_KEEP_S)
    due = Execution.objects.filter(released_at__isnull=True, finished_at__lt=until).exclude(status__in=ACTIVE_STATUSES)
    for execution in due.defer("script", "env")[:100]:
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
    """API tokens that have expired go."""
    ApiToken.objects.filter(expiry__lt=timezone.now()).delete()


@shared_task
def events_trim() -> None:
    """Retention: events older than `TASKHUB_EVENTS_KEEP` go."""
    deleted = storage.trim(timezone.now() - settings.TASKHUB_EVENTS_KEEP)
    if deleted:
        log.info("%d expired events deleted", deleted)
