"""Prepared snapshots: rows that say what is to be made, who works at it, and how far it is.

The worker that has a row's lease writes to it under its fence (`worker/snapshot_preparation.py`); what another one does
meanwhile, after the lease has expired, is dropped. Everything at the sandbox service is found by the row's names, so a
worker may be killed at any time.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from taskhub.auth.actor import SYSTEM
from taskhub.executions.executor import ExecutorError
from taskhub.lib.leases import watch
from taskhub.models import (
    ACTIVE_STATUSES,
    EnvironmentVersion,
    Execution,
    ExecutionStatus,
    PreparedSnapshot,
    PreparedState,
    WaitingReason,
)
from taskhub.models.prepared_snapshot import SNAPSHOT_PREFIX
from taskhub.selectors.admission import pause_of
from taskhub.services.audit import audit_write
from taskhub.services.capacity import NEVER_CODE, lock_state
from taskhub.services.dispatch import EXECUTIONS_ADMIT, SNAPSHOTS_PREPARE, send_job_on_commit
from taskhub.services.sandbox_room import SandboxRoom
from taskhub.services.sandbox_sizes import size_expected

log = logging.getLogger(__name__)

LEASE_S: Final = 120.0
"""Longer than a step may take: leases are not renewed."""
PAUSE_MOST: Final = timedelta(hours=1)
"""Between two tries."""

NO_ERROR: Final[dict[str, Any]] = {"error_code": "", "error_message": "", "log_tail": ""}
_NOW: Final = {"due_at": None, "lease_until": None, "fence": F("fence") + 1}
"""What another worker does with it meanwhile does not count."""
_OLD: Final = Q(version__environment__deleted_at__isnull=False) | ~Q(version__number=F("version__environment__version"))
_IN_USE: Final = Exists(Execution.objects.filter(status__in=ACTIVE_STATUSES, environment=OuterRef("version")))
_REMOVABLE: Final = _OLD & (~Q(state=PreparedState.ACTIVE) | ~_IN_USE)
_AT_REST: Final = (PreparedState.ACTIVE, PreparedState.FAILED)


class _Wanted(NamedTuple):
    """A sandbox for prepare, as a row of the queue."""

    pk: UUID
    cpu: int | None
    memory: int | None
    disk: int | None
    requested_sandbox_id: str = ""
    waiting_reason: str = ""
    passed_over_at: datetime | None = None


def snapshot_ask(*, version: EnvironmentVersion) -> None:
    """The version was made just now: its prepare is to be run, if it has one. In the transaction of the save."""
    spec = version.spec
    if not spec.prepare:
        return
    row = PreparedSnapshot(
        version=version,
        name=f"{SNAPSHOT_PREFIX}{version.name}-{version.number}",
        since=timezone.now(),
        **size_expected(version),
    )
    if spec.gpu:
        row.state, row.error_code = PreparedState.FAILED, "prepare_with_gpu"
        row.error_message = (
            "The sandbox service deletes a sandbox with GPUs when it is stopped, so none is kept as a snapshot."
        )
    row.save()
    send_job_on_commit(SNAPSHOTS_PREPARE)


def snapshot_ask_again(*, version: EnvironmentVersion) -> None:
    """A save that changes nothing: what has failed, or waits for its next try, is tried now."""
    rows = PreparedSnapshot.objects.filter(version=version).exclude(error_code__in=["", "prepare_with_gpu"])
    asked = rows.filter(state__in=[PreparedState.FAILED, PreparedState.WAITING])
    if asked.update(**_in_state(PreparedState.WAITING), **NO_ERROR, **_NOW, attempts=0):
        send_job_on_commit(SNAPSHOTS_PREPARE)


def snapshot_note_lost(*, version: EnvironmentVersion) -> None:
    """The sandbox service does not have it any more, or not as it was: it is made again."""
    lost = PreparedSnapshot.objects.filter(version=version, state=PreparedState.ACTIVE)
    if lost.update(**_in_state(PreparedState.WAITING), **_NOW, snapshot_id=""):
        log.warning("the snapshot of %s is gone at the sandbox service; it is made again", version)
        send_job_on_commit(SNAPSHOTS_PREPARE)


def snapshot_for(version: EnvironmentVersion | None) -> str:
    """The name of the snapshot that its executions are to start from; "" where there is none, or not yet."""
    if version is None or not version.spec.prepare:
        return ""
    found = PreparedSnapshot.objects.filter(version=version, state=PreparedState.ACTIVE)
    return found.values_list("name", flat=True).first() or ""


def snapshot_claim() -> PreparedSnapshot | None:
    """One at which something is to be done, under a lease that is the caller's."""
    for row in _to_do():
        is_due = row.due_at is None or watch.moment_is_past(("prepared", row.pk), row.due_at, PAUSE_MOST)
        if not is_due or not _is_free(row):
            continue
        free = PreparedSnapshot.objects.filter(pk=row.pk, fence=row.fence)
        if free.update(lease_until=timezone.now() + timedelta(seconds=LEASE_S), fence=F("fence") + 1):
            row.fence += 1
            return row
    return None


def _to_do() -> QuerySet[PreparedSnapshot]:
    wanted = Q(holds_sandbox=True) | ~Q(state__in=_AT_REST) | _REMOVABLE
    return PreparedSnapshot.objects.filter(wanted).select_related("version__environment").order_by("since")


def _is_free(row: PreparedSnapshot) -> bool:
    """Without a lease, or with one whose holder has been silent for its whole length; by the monotonic clock."""
    return row.lease_until is None or watch.lease_is_past(("prepared lease", row.pk), row.fence, LEASE_S)


def snapshot_give_back(row: PreparedSnapshot, *, due_s: float = 0.0, **fields: Any) -> bool:
    """Write the fields, and end the lease; the next look is in so many seconds. False where the lease was lost.

    With `state` it comes into that state now.
    """
    if "state" in fields:
        fields = {**_in_state(fields["state"]), **fields}
    due_at = timezone.now() + timedelta(seconds=due_s) if due_s else None
    with transaction.atomic():
        if not _mine(row).update(lease_until=None, due_at=due_at, **fields):
            return False
        if row.holds_sandbox and fields.get("holds_sandbox") is False:
            send_job_on_commit(EXECUTIONS_ADMIT)
        if fields.get("state") in _AT_REST:
            _audit(row, fields["state"])
    return True


def _audit(row: PreparedSnapshot, state: str) -> None:
    audit_write(
        actor=SYSTEM,
        action="environment:prepare",
        subject=f"environment:{row.version.name}",
        changes={"version": [None, row.version.number], "snapshot": [None, row.name], "state": [row.state, state]},
    )


def snapshot_is_to_go(row: PreparedSnapshot) -> bool:
    """Whether it is of an old version that no active execution names. Then none takes it any more.

    An execution that has looked before runs prepare by itself where it does not find the snapshot.
    """
    if row.state == PreparedState.REMOVING:
        return True
    if not _mine(row).filter(_REMOVABLE).exists():
        return False
    row.state = PreparedState.REMOVING
    return bool(_mine(row).update(**_in_state(PreparedState.REMOVING)))


@transaction.atomic
def snapshot_forget(row: PreparedSnapshot) -> None:
    """Sandbox and snapshot are gone. Where the lease was lost, another worker comes to this, too."""
    _mine(row).delete()
    send_job_on_commit(EXECUTIONS_ADMIT)


@transaction.atomic
def snapshot_begin(row: PreparedSnapshot) -> None:
    """waiting -> preparing, before its sandbox is asked for. Executions that wait for room come first.

    Raises ExecutorError, which says what it waits for; a permanent one where it never can begin.
    """
    state = lock_state()
    room, wanted = SandboxRoom(state, may_try=False), _Wanted(row.pk, row.cpu, row.memory, row.disk)
    if words := room.never_fits(wanted):
        raise ExecutorError(NEVER_CODE, words, permanent=True)
    if PreparedSnapshot.objects.filter(name=row.name).exclude(pk=row.pk).exists():
        raise _waits("The snapshot of a deleted environment of this name is removed first.")
    if pause_of("") is not None:
        raise _waits("New work is paused.")
    waiting = Execution.objects.filter(status=ExecutionStatus.QUEUED, waiting_reason=WaitingReason.CAPACITY)
    if waiting.exists() or not room.has_room_for(wanted):
        raise _waits("There is no room for another sandbox now.")
    fields = {**_in_state(PreparedState.PREPARING), **NO_ERROR, "holds_sandbox": True}
    if not _mine(row).update(**fields):
        raise _waits("Another worker works at it.")
    row.__dict__ |= fields


def _waits(words: str) -> ExecutorError:
    return ExecutorError("prepare_waits", words, permanent=False)


def _mine(row: PreparedSnapshot) -> QuerySet[PreparedSnapshot]:
    return PreparedSnapshot.objects.filter(pk=row.pk, fence=row.fence)


def _in_state(state: PreparedState) -> dict[str, Any]:
    return {"state": state, "since": timezone.now(), "begun_at": None}
