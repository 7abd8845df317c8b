"""Leases of executions that have run out, as their worker has died or hangs; and what a set clock makes of a start."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db.models import F

from taskhub.lib.leases import watch
from taskhub.models import FOLLOWED, Execution, ExecutionStatus

log = logging.getLogger(__name__)

UNKNOWN_S: Final = 60.0
"""The length of a lease whose row does not say it, as an older release writes them."""


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
