"""Leases of executions: taken and renewed by a worker, given back, taken away when it has died or hangs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import F, Q

from taskhub.lib.leases import watch
from taskhub.models import ACTIVE_STATUSES, FOLLOWED, TO_START, Execution, ExecutionStatus
from taskhub.services.execution_moves import execution_move, lease_fields

log = logging.getLogger(__name__)

_TAKEN_AS: Final = {ExecutionStatus.STARTING: TO_START, ExecutionStatus.RUNNING: FOLLOWED}

UNKNOWN_S: Final = 60.0
"""The length of a lease whose row does not say it, as an older release writes them."""


def execution_take_lease(
    *, execution_id: UUID, status: ExecutionStatus, lease_s: float, changes: Mapping[str, Any] | None = None
) -> Execution | None:
    """The execution, leased to the caller for `lease_s` seconds; None if it moved on or another worker holds it.

    One whose checkout or setup is under way is followed, as if it were `running`, and never started again. `changes`
    are made with it.
    """
    free = Execution.objects.filter(_TAKEN_AS.get(status, Q(status=status)), pk=execution_id, lease_until__isnull=True)
    taken = free.update(fence=F("fence") + 1, **lease_fields(lease_s), **(changes or {}))
    return Execution.objects.select_related("task", "environment").get(pk=execution_id) if taken else None


class Seen(NamedTuple):
    """What another process may have changed of an execution that is followed."""

    fence: int
    stop_requested_at: datetime | None


def executions_seen(*, fences: Mapping[UUID, int], renew_s: float | None) -> dict[UUID, Seen]:
    """The active ones of these rows; with `renew_s` the leases of those whose fence is still as given are renewed."""
    active = Execution.objects.filter(pk__in=fences, status__in=ACTIVE_STATUSES)
    found = {pk: Seen(fence, at) for pk, fence, at in active.values_list("pk", "fence", "stop_requested_at")}
    if renew_s is not None:
        mine = [pk for pk, seen in found.items() if seen.fence == fences[pk]]
        Execution.objects.filter(pk__in=mine, status__in=ACTIVE_STATUSES).update(**lease_fields(renew_s))
    return found


def execution_extend_lease(*, execution: Execution, lease_s: float) -> bool:
    """The caller needs longer than it thought; False if the lease was lost."""
    return execution_move(execution, **lease_fields(lease_s))


def execution_postpone(*, execution: Execution, retry_s: float, counts: bool = True) -> None:
    """Let any worker try again in `retry_s` seconds. `counts`: as an attempt to start it; the first one always does."""
    execution_move(
        execution, **lease_fields(retry_s), **({} if counts else {"attempts": max(1, execution.attempts - 1)})
    )


def executions_shift_start(*, fences: Mapping[UUID, int], by: timedelta) -> None:
    """The wall clock was set by so much while these ran: what they have left is the same, by the clock as it is now."""
    for execution_id, fence in fences.items():
        running = Execution.objects.filter(FOLLOWED, pk=execution_id, fence=fence)
        running.update(started_at=F("started_at") + by, setup_deadline=F("setup_deadline") + by)


def executions_expire_leases() -> list[UUID]:
    """Take away the leases that have run out, so that any worker may go on; the executions.

    A holder that still lives finds its fence raised by the next one, or renews its lease before there is a next one.
    """
    held = Execution.objects.filter(
        status__in=(ExecutionStatus.STARTING, ExecutionStatus.RUNNING), lease_until__isnull=False
    )
    expired: list[UUID] = []
    for pk, fence, until, length_s in held.values_list("pk", "fence", "lease_until", "lease_s"):
        if not watch.lease_is_past(("execution", pk), (fence, until), length_s or UNKNOWN_S):
            continue
        if Execution.objects.filter(pk=pk, fence=fence, lease_until=until).update(lease_until=None, lease_s=None):
            log.info("the lease of execution %s has run out", pk)
            expired.append(pk)
    return expired
