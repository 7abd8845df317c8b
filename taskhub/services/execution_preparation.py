"""Executions before their script: checkout, setup, and the close of the network (`worker/preparation.py`)."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from taskhub.executions.executor import Place
from taskhub.models import Execution, StartAwaits
from taskhub.services.execution_leases import execution_postpone
from taskhub.services.execution_moves import execution_move, execution_run, execution_tell, lease_fields
from taskhub.services.sandbox_sizes import size_made


@transaction.atomic
def execution_await(*, execution: Execution, awaited: StartAwaits, retry_s: float) -> None:
    """Its start waits for this at the sandbox service, which is told once; any worker looks again in `retry_s` seconds.

    It stays `starting`. All these looks are one attempt.
    """
    if execution.waiting_reason != awaited:
        if not execution_move(execution, waiting_reason=awaited.value, waiting_since=timezone.now()):
            return
        execution_tell(execution, "preparing", reason=awaited.value)
    execution_postpone(execution=execution, retry_s=retry_s, counts=False)


@transaction.atomic
def execution_mark_set_up(
    *, execution: Execution, place: Place, setup_timeout_s: int, lease_s: float | None = None
) -> bool:
    """Its checkout and setup have begun; it stays `starting`, and is followed from now on. Else as below."""
    moved = execution_move(
        execution,
        sandbox_id=place.sandbox_id,
        command_id=place.command_id,
        setup_deadline=timezone.now() + timedelta(seconds=setup_timeout_s),
        waiting_reason="",
        **size_made(place),
        **lease_fields(lease_s),
    )
    if moved:
        execution_tell(execution, "preparing")
    return moved


@transaction.atomic
def execution_mark_begun(*, execution: Execution, at: datetime | None = None) -> bool:
    """starting → running: checkout and setup are done, and its script has begun, now or at `at`. False likewise."""
    return execution_run(execution, started_at=at or timezone.now())


def execution_note_commit(*, execution: Execution, commit: str) -> bool:
    """What was checked out. False likewise."""
    return execution_move(execution, commit=commit)


def execution_note_network_closed(*, execution: Execution) -> bool:
    """Before its script is let begin. False likewise."""
    return execution_move(execution, network_closed=True)
