"""Leases of executions that have run out, because their worker has died or hangs."""

from __future__ import annotations

import logging
from typing import Final
from uuid import UUID

from taskhub.lib.leases import watch
from taskhub.models import Execution, ExecutionStatus

log = logging.getLogger(__name__)

UNKNOWN_S: Final = 60.0
"""The length of a lease whose row does not say it, as an older release writes them."""


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
