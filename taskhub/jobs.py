"""Celery's jobs: each fetches, calls a service or the executor, and holds the retry policy.

No job waits for a script, nor for the sandbox service: in a worker `execution_start` and `execution_end` hand an
execution to the process's conductor (`taskhub/worker/`), which follows it to its end on the event loop. Called
elsewhere, as tests do, they do one step and return. A worker may be killed at any time: the row says what is to be
done, the lease says who does it, and the next `executions_reconcile` sends what was lost.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

from asgiref.sync import async_to_sync
from celery import shared_task
from django.conf import settings
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from taskhub.auth.browser_sessions import browser_sessions_trim
from taskhub.auth.sign_in_limits import failures_trim
from taskhub.events import outbox
from taskhub.events.connections import stream_connections_drop_orphans
from taskhub.executions import get_executor
from taskhub.executions.executor import ExecutorError
from taskhub.executions.place import execution_place
from taskhub.lib import awake
from taskhub.lib.database_limits import retention
from taskhub.lib.event_loops import lent_loop
from taskhub.lib.leases import watch
from taskhub.lib.locks import alone
from taskhub.models import (
    ACTIVE_STATUSES,
    FOLLOWED,
    TO_START,
    Execution,
    ExecutionStatus,
    Leftover,
    MetricName,
    WaitingReason,
)
from taskhub.observability.metrics_store import meter, trim_measures
from taskhub.selectors.admission import executions_under_way, waiting_by_reason
from taskhub.services import artifacts as artifacts_services
from taskhub.services import (
    claims,
    execution_leases,
    executions,
    idempotency,
    log_retention,
    mails,
    notes,
    oauth_grants,
    tokens,
    verdicts,
    verifications,
)
from taskhub.services.dispatch import EXECUTION_END, EXECUTION_GONE, EXECUTION_START, EXECUTIONS_RELEASE, send_job
from taskhub.services.environment_repositories import credentials_trim
from taskhub.services.execution_leases import executions_expire_leases
from taskhub.web.thread_pool import wait_here
from taskhub.worker.conductor import hand_over
from taskhub.worker.following import Following
from taskhub.worker.preparation import Lost
from taskhub.worker.snapshot_preparation import snapshots_prepare as take_steps
from taskhub.worker.starting import RETRY_S, admit, release, start

log = logging.getLogger(__name__)

END_LEASE_S: Final = 120.0
RETRY: Final = timedelta(seconds=RETRY_S)
LOOK_S: Final = 15.0
"""The longest a look may take: a killed worker holds the others up for no longer."""
RELEASE_S: Final = 60.0
"""The longest that one round of releases holds up the next."""
SNAPSHOTS_S: Final = 120.0
"""The longest that one round of steps holds up the next. Each row has a lease besides."""
MAILS_S: Final = 120.0
"""The longest that a round of mail holds up the next."""
MEASURES_KEEP: Final = timedelta(days=2)


@shared_task
def execution_start(execution_id: str) -> None:
    """Start a queued execution. In a worker its conductor does it, and follows it to its end."""
    loop = lent_loop()
    if loop is not None:
        hand_over(loop, lambda conductor: conductor.start(UUID(execution_id)))
    else:
        wait_here(partial(start, UUID(execution_id)))


@shared_task
def claims_expire() -> None:
    """Take back the tasks whose agents have been silent for longer than their lease; answer questions at deadlines."""
    if not (claims.claims_are_held() or notes.questions_have_deadlines()):
        return
    awake.note(awake.CLAIMS)
    with alone("taskhub:claims", at_most_s=LOOK_S) as is_ours:
        if is_ours:
            notes.questions_expire()
            claims.claims_expire()


@shared_task
def executions_admit() -> None:
    """Start what may start now."""
    admit()


@shared_task
def executions_reconcile() -> None:
    """Hand over what no worker has: starts that were lost, and executions whose worker has died."""
    if executions_under_way():
        awake.note(awake.EXECUTIONS)
    elif not settings.TASKHUB_VERIFY_IN_REVIEW:
        return
    with alone("taskhub:reconcile", at_most_s=LOOK_S) as is_ours:
        if is_ours:
            executions_expire_leases()
            _resend_starts()
            _hand_over_running()
            # Last: what has begun goes on, though these fail. Their own starts are sent as they commit.
            verifications.verifications_retry()
            verifications.verifications_begin()


@shared_task
def verdicts_void() -> None:
    """Void verdicts of which a newer version of the environment exists: sent when one is saved, and now and then."""
    with alone("taskhub:verdicts", at_most_s=RELEASE_S) as is_ours:
        while is_ours and verdicts.verdicts_void():
            pass


@shared_task
def snapshots_prepare() -> None:
    """Go on with the snapshots of environments that are to be prepared, and delete old ones."""
    with alone("taskhub:snapshots", at_most_s=SNAPSHOTS_S) as is_ours:
        if is_ours and wait_here(take_steps):
            awake.note(awake.SNAPSHOTS)


def _resend_starts() -> None:
    """Admitted ones whose job was lost, or whose worker died, or that are due for another try; and those that wait."""
    free = Execution.objects.filter(TO_START, lease_until__isnull=True)
    for execution_id, admitted_at in free.order_by("admitted_at").values_list("pk", "admitted_at"):
        if admitted_at is None or watch.moment_is_past(("start", execution_id), admitted_at + RETRY, RETRY):
            send_job(EXECUTION_START, execution_id)
    admit()
    if waiting_by_reason()[WaitingReason.CAPACITY]:
        send_job(EXECUTIONS_RELEASE)


def _hand_over_running() -> None:
    left = Execution.objects.filter(FOLLOWED, lease_until__isnull=True)
    for execution_id in left.values_list("pk", flat=True):
        send_job(EXECUTION_END, execution_id)


@shared_task
def executions_check_sandboxes() -> None:
    """One look at the sandboxes of all running executions, by pages of the account's list."""
    with alone("taskhub:check-sandboxes", at_most_s=LOOK_S) as is_ours:
        running = list(Execution.objects.filter(FOLLOWED).defer("script", "env"))
        if not is_ours or not running:
            return
        began = time.monotonic()
        seen = async_to_sync(get_executor().present)([execution_place(execution) for execution in running])
        meter.add(MetricName.POLL_MS, 1000 * (time.monotonic() - began), "executions")
        for execution, observation in zip(running, seen, strict=True):
            if observation.state == "gone":
                log.info("the sandbox of execution %s is gone", execution.pk)
                send_job(EXECUTION_GONE, execution.pk)


@shared_task
def execution_gone(execution_id: str) -> None:
    """The sandbox of a running execution is gone: its conductor need not wait for the log connection to fail."""
    loop = lent_loop()
    if loop is not None:
        hand_over(loop, lambda conductor: conductor.gone(UUID(execution_id)))


@shared_task
def execution_end(execution_id: str) -> None:
    """Settle a running execution that has ended or is to be ended. In a worker its conductor follows it to its end."""
    loop = lent_loop()
    if loop is not None:
        hand_over(loop, lambda conductor: conductor.attend(UUID(execution_id)))
        return
    execution = execution_leases.execution_take_lease(
        execution_id=UUID(execution_id), status=ExecutionStatus.RUNNING, lease_s=END_LEASE_S
    )
    if execution is not None:
        with suppress(Lost):
            wait_here(Following(execution).settle)


@shared_task
def execution_stop_sandbox(execution_id: str) -> None:
    """Stop the sandbox of an execution that only this ends for certain."""
    execution = Execution.objects.defer("script", "env").get(pk=execution_id)
    if execution.leftover != Leftover.SANDBOX_STOPPING:
        return
    try:
        async_to_sync(get_executor().stop_sandbox)(execution_place(execution))
    except ExecutorError as error:
        log.warning("the sandbox of execution %s is not stopped yet: %s", execution.pk, error.code)
        if not error.permanent:
            return  # `executions_release` tries again
    executions.execution_mark_sandbox_stopped(execution=execution)


@shared_task
def executions_release() -> None:
    """Give back sessions and sandboxes some time after the end, so that viewers can still look at them.

    Where executions wait for the room that kept sandboxes take, these go at once, the oldest first.
    """
    with alone("taskhub:release", at_most_s=RELEASE_S) as is_ours:
        released = _release_due() if is_ours else 0
    admit()
    if released and waiting_by_reason()[WaitingReason.CAPACITY]:
        send_job(EXECUTIONS_RELEASE)  # one that waits may need the room of several


def _release_due() -> int:
    """How many were released."""
    for execution_id in Execution.objects.filter(leftover=Leftover.SANDBOX_STOPPING).values_list("pk", flat=True):
        execution_stop_sandbox(str(execution_id))
    now = timezone.now()
    until = now - timedelta(seconds=settings.TASKHUB_SANDBOX_KEEP_S)
    ended = Execution.objects.filter(released_at__isnull=True, finished_at__isnull=False)
    ended = ended.exclude(status__in=ACTIVE_STATUSES).defer("script", "env").order_by("finished_at")
    # A sandbox stays while another execution uses it, or is kept in it.
    users = Execution.objects.filter(requested_sandbox_id=OuterRef("sandbox_id"), released_at__isnull=True)
    ended = ended.exclude(Exists(users.exclude(pk=OuterRef("pk"))), ~Q(sandbox_id=""), requested_sandbox_id="")
    due = list(ended.filter(Q(kept_until=None, finished_at__lt=until) | Q(kept_until__lt=now))[:100])
    due += [execution for execution in ended.filter(finished_at__gt=now)[:100] if _was_kept(execution)]
    if not due and (needed := waiting_by_reason()[WaitingReason.CAPACITY]):
        due = list(ended.filter(requested_sandbox_id="")[: min(needed, 100)])
    released = 0
    for execution in due:
        try:
            if execution.admitted_at is not None or execution.attempts:
                async_to_sync(release)(execution)
        except ExecutorError as error:
            log.warning("the sandbox of execution %s is not released yet: %s", execution.pk, error.code)
            if not error.permanent:
                continue
        executions.execution_mark_released(execution=execution)
        released += 1
    return released


def _was_kept(execution: Execution) -> bool:
    """Whether a sandbox whose end seems to lie ahead, as the clock was set back since, was kept from first sight on."""
    kept = timedelta(seconds=settings.TASKHUB_SANDBOX_KEEP_S)
    if execution.kept_until is not None and execution.finished_at is not None:
        kept = execution.kept_until - execution.finished_at
    return watch.lease_is_past(("kept", execution.pk), execution.finished_at, kept.total_seconds())


@shared_task
def mails_deliver() -> None:
    """Write the mail of new events, and send what is due. A slow mail server delays nothing but mail."""
    with alone("taskhub:mails", at_most_s=MAILS_S) as is_ours:
        while is_ours and mails.mails_write():
            pass
        if is_ours:
            mails.mails_send()


@shared_task
@retention()
def tokens_expire() -> None:
    """Retention: expired API tokens and sessions are deleted, counters of failed sign-ins that have ended, and the
    credentials that no environment has any more.
    """
    tokens.tokens_expire()
    credentials_trim()
    failures_trim()
    browser_sessions_trim()


@shared_task
@retention()
def oauth_trim() -> None:
    """Retention: expired authorization codes and OAuth tokens, and clients without a grant."""
    oauth_grants.oauth_trim()


@shared_task
@retention()
def idempotency_keys_trim() -> None:
    """Retention: answers to requests with an Idempotency-Key are kept for 24 hours."""
    idempotency.idempotency_trim()


@shared_task
@retention()
def artifacts_trim() -> None:
    """Retention: artifacts older than `TASKHUB_ARTIFACTS_KEEP` go, and those of deleted tasks."""
    deleted = artifacts_services.artifacts_trim(before=timezone.now() - settings.TASKHUB_ARTIFACTS_KEEP)
    if deleted:
        log.info("%d artifacts deleted", deleted)


@shared_task
@retention()
def logs_trim() -> None:
    """Retention: logs and scripts of executions that ended `TASKHUB_LOGS_KEEP_DAYS` ago go."""
    if settings.TASKHUB_LOGS_KEEP_DAYS:
        deleted = log_retention.logs_trim(before=timezone.now() - timedelta(days=settings.TASKHUB_LOGS_KEEP_DAYS))
        if deleted:
            log.info("the logs and scripts of %d executions deleted", deleted)


@shared_task
@retention()
def measures_trim() -> None:
    """What was measured is kept for a little longer than the dashboard looks back."""
    trim_measures(before=timezone.now() - MEASURES_KEEP)


@shared_task
@retention()
def events_trim() -> None:
    """Retention: events older than `TASKHUB_EVENTS_KEEP` go, and the streams of processes that have died."""
    deleted = outbox.trim(timezone.now() - settings.TASKHUB_EVENTS_KEEP)
    if deleted:
        log.info("%d expired events deleted", deleted)
    stream_connections_drop_orphans()
