"""Starts executions that are admitted."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

from django.utils import timezone

from taskhub.executions import get_executor
from taskhub.executions.checkout import Checkout, Credential
from taskhub.executions.executor import ExecutorError, Launch, Place
from taskhub.lib.encryption import SealBroken
from taskhub.lib.storage_threads import on_storage_thread
from taskhub.models import EnvironmentCredential, Execution, ExecutionStatus, GivenFile, StartAwaits
from taskhub.models.environment import DEPTH
from taskhub.services import admission, capacity, execution_leases, executions
from taskhub.services.dispatch import EXECUTION_START, send_job
from taskhub.services.execution_preparation import execution_await, execution_mark_set_up
from taskhub.services.executions import Outcome
from taskhub.services.prepared_snapshots import snapshot_for, snapshot_note_lost
from taskhub.services.sandbox_sizes import size_of
from taskhub.web.thread_pool import with_database
from taskhub.worker.evidence_files import evidence_launch
from taskhub.worker.outcomes import outcome_of_error
from taskhub.worker.stored_content import stored_content

log = logging.getLogger(__name__)

START_LEASE_S: Final = 60.0
"""For a start whose lease is not renewed meanwhile."""
RETRY_S: Final = 5.0


class Awaited(NamedTuple):
    """What a start waits for at most so many seconds, and how it fails then."""

    words: str
    code: str
    most_s: int


WAITED_FOR: Final = {
    StartAwaits.IMAGE: Awaited("image", "sandbox_build_slow", 1800),
    StartAwaits.SNAPSHOT: Awaited("snapshot", "snapshot_slow", 1800),
    StartAwaits.VOLUME: Awaited("volumes", "volume_slow", 300),
}

Takes = Callable[[UUID], bool]
"""Called on any thread; True where the caller starts the admitted execution itself, so that no job is sent for it."""


async def start(
    execution_id: UUID,
    *,
    lease_s: float | None = None,
    on_claim: Callable[[Execution], None] | None = None,
    takes: Takes | None = None,
) -> Execution | None:
    """The execution, running, or with its checkout and setup under way; None if there is nothing to go on with.

    A caller that gives `lease_s` renews the lease, from `on_claim` on, and keeps the execution when it runs.
    """
    execution = await with_database(_claim, execution_id, lease_s or START_LEASE_S, takes)
    if execution is None:
        return None
    if on_claim is not None:
        on_claim(execution)
    if execution.stop_requested_at is not None:
        await _abandon(execution, Outcome(ExecutionStatus.STOPPED))
        return None
    try:
        async with launch_with_files(execution) as launch:
            place = await get_executor().launch(launch)
    except ExecutorError as error:
        await _not_started(execution, error)
        return None
    if not await with_database(_mark_started, execution, launch, place, lease_s, takes):
        return None
    log.info("execution %s runs in sandbox %s", execution.pk, place.sandbox_id)
    return execution


def _claim(execution_id: UUID, lease_s: float, takes: Takes | None) -> Execution | None:
    """None also where others are due before it: the admission, or the reconciliation, sends another job for it."""
    standing = admission.execution_standing(execution_id)
    if standing is None:
        return None
    if standing.may_start:
        is_queued = standing.is_queued
        execution = executions.execution_claim_start(execution_id=execution_id, lease_s=lease_s, is_queued=is_queued)
        if execution is not None or not is_queued:
            return execution
    elif not standing.is_queued:
        return None
    admit(besides=execution_id, takes=takes)
    # Once more: another worker may have admitted it, whose job for it came while this one was at work.
    return executions.execution_claim_start(execution_id=execution_id, lease_s=lease_s)


def _mark_started(
    execution: Execution, launch: Launch, place: Place, lease_s: float | None, takes: Takes | None
) -> bool:
    expected = size_of(execution)
    if launch.prepares:
        limit_s = launch.setup_timeout_s
        moved = execution_mark_set_up(execution=execution, place=place, setup_timeout_s=limit_s, lease_s=lease_s)
    else:
        moved = executions.execution_mark_started(execution=execution, place=place, lease_s=lease_s)
    if not moved:
        return False
    if place.lost_snapshot and execution.environment is not None:
        snapshot_note_lost(version=execution.environment)
    if place.size not in {None, expected} and execution.environment is not None and not launch.sandbox_id:
        capacity.admission_note_size(execution=execution, size=size_of(execution))
    standing = admission.execution_standing(execution.pk)
    if standing is None or standing.is_bounded:
        capacity.admission_note_started()
    if (standing is None or standing.others_are_queued) and admission.more_may_start():
        admit(takes=takes)
    return True


def admit(besides: UUID | None = None, takes: Takes | None = None) -> None:
    """Admit what may start now, and send the jobs; not that of `besides`, which is the caller's."""
    for execution_id in admission.executions_admit():
        if execution_id != besides and not (takes is not None and takes(execution_id)):
            send_job(EXECUTION_START, execution_id)


async def _not_started(execution: Execution, error: ExecutorError) -> None:
    if error.waits_for == "capacity":
        await with_database(capacity.admission_note_full, execution=execution, lack=error.lack)
    elif error.waits_for in StartAwaits.values:
        await _wait_for(execution, StartAwaits(error.waits_for))
    elif error.waits_for == "rate":
        pause_s = error.retry_after_s or RETRY_S
        await with_database(capacity.admission_note_throttled, execution=execution, retry_after_s=pause_s)
    else:
        await _failed(execution, error)


async def _wait_for(execution: Execution, what: StartAwaits) -> None:
    """It is looked at again soon, by any worker, until what it waits for takes too long.

    All these looks are one try, which has made the sandbox: that is given back with the execution, whatever ends it.
    """
    awaited = WAITED_FOR[what]
    began = execution.admitted_at or execution.queued_at
    if timezone.now() - began > timedelta(seconds=awaited.most_s):
        words = (
            f"The sandbox service did not have the environment's {awaited.words} after {awaited.most_s // 60} minutes."
        )
        await _abandon(execution, Outcome(ExecutionStatus.FAILED, error_code=awaited.code, error_message=words))
        return
    await with_database(execution_await, execution=execution, awaited=what, retry_s=RETRY_S)


def launch_of(execution: Execution) -> Launch:
    """Raises ExecutorError where its secret values cannot be decrypted."""
    try:
        secrets = execution.secrets()
    except SealBroken:
        words = "Its secret values cannot be decrypted: the hub's key was changed. Execute the task again."
        raise ExecutorError("secrets_unreadable", words, permanent=True) from None
    environment = execution.environment.spec if execution.environment is not None else None
    return Launch(
        execution_id=execution.pk,
        session_name=execution.session_name,
        script=execution.script,
        timeout_s=execution.timeout_s,
        log_token=execution.log_token,
        sandbox_id=execution.requested_sandbox_id,
        env={**(environment.env if environment is not None else {}), **execution.env, **secrets},
        merge_output=execution.merge_output,
        all_files=execution.all_files,
        environment=environment,
        task_id=execution.task_id,
        checkout=checkout_of(execution),
        setup_timeout_s=environment.setup_limit_s if environment is not None else 0,
        prepared_snapshot="" if execution.requested_sandbox_id else snapshot_for(execution.environment),
    )


def checkout_of(execution: Execution) -> Checkout | None:
    """What its environment's repository is, with the credential as it is now. Raises ExecutorError."""
    version = execution.environment
    repository = version.spec.repository if version is not None else None
    if version is None or repository is None:
        return None
    depth = DEPTH if repository.depth is None else repository.depth
    found = Checkout(repository.url, repository.ref, repository.path, depth)
    if repository.credential is None:
        return found
    row = EnvironmentCredential.objects.filter(environment=version.environment_id).first()
    if row is None:
        words = "The credential of the environment's repository was deleted; its operator must give another one."
        raise ExecutorError("credential_missing", words, permanent=True)
    try:
        return replace(found, credential=Credential(*row.opened()))
    except SealBroken:
        words = "The credential of the environment's repository cannot be decrypted: the hub's key was changed."
        raise ExecutorError("credential_unreadable", words, permanent=True) from None


@asynccontextmanager
async def launch_with_files(execution: Execution) -> AsyncIterator[Launch]:
    """With its given files, or what the run that it verifies left.

    Raises ExecutorError, also where a copy is gone, or cannot be read.
    """
    launch, given = await with_database(_launch_and_given, execution)
    if execution.is_verification:
        async with evidence_launch(execution, launch) as proving:
            yield proving
    else:
        files = await on_storage_thread(lambda: {row.path: _content(row) for row in given}) if given else {}
        yield replace(launch, files=files)


def _launch_and_given(execution: Execution) -> tuple[Launch, list[GivenFile]]:
    """Both in one visit to a thread of the database: each start pays for it."""
    launch = launch_of(execution)
    return launch, [] if execution.is_verification else list(GivenFile.objects.filter(execution=execution))


def _content(row: GivenFile) -> bytes:
    if not row.stored_as:
        return row.text.encode()
    words = f"The file for {row.path[:200]} was deleted before the start."
    return stored_content(row.stored_as, gone=ExecutorError("given_file_gone", words, permanent=True))


async def _failed(execution: Execution, error: ExecutorError) -> None:
    if not error.permanent and execution.attempts < executions.START_ATTEMPTS:
        log.warning("execution %s cannot start yet: %s", execution.pk, error.code)
        await with_database(
            execution_leases.execution_postpone, execution=execution, retry_s=RETRY_S * execution.attempts
        )
        return
    await with_database(execution.refresh_from_db, fields=["stop_requested_at"])
    status = ExecutionStatus.FAILED if execution.stop_requested_at is None else ExecutionStatus.STOPPED
    await _abandon(execution, replace(outcome_of_error(error), status=status))


async def _abandon(execution: Execution, outcome: Outcome) -> None:
    """The end of an execution that was not seen to start. An earlier, failed try may have started it all the same."""
    if execution.attempts > 1:
        try:
            await release(execution)
        except ExecutorError as error:
            # Nothing answers: what it made is given back later, by `executions_release`.
            log.warning("execution %s ends without its sandbox being seen: %s", execution.pk, error.code)
    await with_database(executions.execution_finish, execution=execution, outcome=outcome)


async def release(execution: Execution) -> None:
    """Give back its session, or the sandbox made for it. Raises ExecutorError.

    Also where the start failed half-way: they are found by name.
    """
    place = Place(execution.pk, execution.sandbox_id, execution.session_name, execution.command_id)
    await get_executor().release(place, made_sandbox=not execution.requested_sandbox_id)
