"""Makes prepared snapshots, step by step, and deletes old ones.

A step is one look at the sandbox service, under the row's lease (`services/prepared_snapshots.py`), and writes down
how far it is. Nothing waits between steps: the next tick, of any worker, goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from datetime import timedelta
from functools import partial
from typing import Any, Final

from django.utils import timezone

from taskhub.executions import get_executor
from taskhub.executions.executor import ExecutorError
from taskhub.executions.preparer import Preparing
from taskhub.lib.leases import watch
from taskhub.models import PreparedSnapshot, PreparedState
from taskhub.services.prepared_snapshots import (
    LEASE_S,
    NO_ERROR,
    PAUSE_MOST,
    snapshot_begin,
    snapshot_claim,
    snapshot_forget,
    snapshot_give_back,
    snapshot_is_to_go,
)
from taskhub.web.thread_pool import with_database

log = logging.getLogger(__name__)

STEP_S: Final = LEASE_S - 30
STEPS_MOST: Final = 100
"""Of a tick. A row that is at once due again is looked at again, up to this."""
LOOK_AGAIN_S: Final = 2.0
TROUBLE_S: Final = 10.0
"""Until the next look at a service that does not answer."""
WAIT_S: Final = 30.0
"""Until the next look whether there is room."""
PAUSE_FIRST_S: Final = 60.0
SERVICE_TAKES: Final = timedelta(minutes=30)
"""The longest for a sandbox, and for a snapshot, to be there."""
_AGAIN: Final = frozenset({"sandbox_not_found", "session_not_found", "sandbox_key_refused", "sandboxes_off"})
"""Codes of errors that are permanent for an execution, and not for a snapshot that is made anew, or later."""
_SLOW: Final = ExecutorError(
    "prepare_slow",
    "The sandbox service did not have the sandbox, or the snapshot, after 30 minutes; it is tried again later.",
    permanent=False,
)


async def snapshots_prepare() -> int:
    """Take the steps that are due; answers how many there were."""
    for steps in range(STEPS_MOST):
        row = await with_database(snapshot_claim)
        if row is None:
            return steps
        await step(row)
    return STEPS_MOST


async def step(row: PreparedSnapshot) -> None:
    """One look at what a row that was claimed needs next."""
    try:
        async with asyncio.timeout(STEP_S):
            await _step(row)
    except TimeoutError:
        await _give_back(row, due_s=TROUBLE_S)
    except ExecutorError as error:
        log.warning("the snapshot %s is not made now: %s", row.name, error.code)
        await _failed(row, error)


async def _step(row: PreparedSnapshot) -> None:
    if await with_database(snapshot_is_to_go, row):
        await _drop(row)
        await with_database(snapshot_forget, row)
    elif row.state in {PreparedState.ACTIVE, PreparedState.FAILED}:
        await _sandbox_dropped(row)
        await _give_back(row, holds_sandbox=False)
    elif row.state == PreparedState.WAITING and (row.holds_sandbox or row.holds_snapshot):
        await _drop(row)
        due_s = _pause_s(row.attempts) if row.error_code else 0.0
        await _give_back(row, due_s=due_s, holds_sandbox=False, holds_snapshot=False)
    elif row.state == PreparedState.SNAPSHOTTING:
        await _keep(row)
    else:
        if row.state == PreparedState.WAITING:
            await with_database(snapshot_begin, row)
        await _prepare(row)


async def _prepare(row: PreparedSnapshot) -> None:
    look = await get_executor().prepare(_preparing(row))
    fields: dict[str, Any] = {**NO_ERROR, **(look.size._asdict() if look.size is not None else {})}
    if look.exit_code is None:
        if row.begun_at is None:
            await _give_back(row, due_s=LOOK_AGAIN_S, begun_at=timezone.now(), **fields)
        elif _is_over(row):
            words = f"Prepare had not ended after {row.version.spec.setup_limit_s} s."
            await _give_back(row, state=PreparedState.FAILED, **fields | _said("prepare_failed", words))
        else:
            await _give_back(row, due_s=LOOK_AGAIN_S, **fields)
    elif look.exit_code:
        said = _said("prepare_failed", f"Prepare ended with exit code {look.exit_code}.")
        await _give_back(row, state=PreparedState.FAILED, **fields | said | {"log_tail": look.log_tail})
    else:
        await _give_back(row, state=PreparedState.SNAPSHOTTING, holds_snapshot=True, **fields)


async def _keep(row: PreparedSnapshot) -> None:
    snapshot_id = await get_executor().keep_snapshot(_preparing(row))
    if snapshot_id:
        await _give_back(row, state=PreparedState.ACTIVE, snapshot_id=snapshot_id, attempts=0, **NO_ERROR)
    elif _is_over(row):
        raise _SLOW
    else:
        await _give_back(row, due_s=LOOK_AGAIN_S, **NO_ERROR)


async def _drop(row: PreparedSnapshot) -> None:
    """Its sandbox first: while a snapshot of it is made, that is refused."""
    if row.holds_sandbox:
        await _sandbox_dropped(row)
    if row.holds_snapshot:
        await get_executor().drop_snapshot(_preparing(row), row.snapshot_id)


def _sandbox_dropped(row: PreparedSnapshot) -> Awaitable[None]:
    return get_executor().drop_preparing(_preparing(row))


async def _failed(row: PreparedSnapshot, error: ExecutorError) -> None:
    """What an error comes to. One of a deletion, or of a wait for room, changes no state."""
    said = {**_said(error.code, error.message), "log_tail": error.detail}
    if row.state not in {PreparedState.PREPARING, PreparedState.SNAPSHOTTING}:
        if row.state == PreparedState.WAITING and error.permanent and not row.holds_sandbox and not row.holds_snapshot:
            await _give_back(row, state=PreparedState.FAILED, **said)
        elif row.state == PreparedState.WAITING:
            await _give_back(row, due_s=WAIT_S, **said)
        else:
            log.warning("what is left of %s is not deleted yet: %s", row.name, error.code)
            told = said if row.state == PreparedState.REMOVING else {}
            await _give_back(row, due_s=_pause_s(row.attempts), attempts=min(row.attempts + 1, 6), **told)
    elif error.waits_for == "capacity":
        await _give_back(row, state=PreparedState.WAITING, **said)
    elif error is _SLOW or error.code in _AGAIN or (not error.permanent and row.begun_at is None and _is_over(row)):
        await _give_back(row, state=PreparedState.WAITING, attempts=min(row.attempts + 1, 6), **said)
    elif error.permanent:
        # A snapshot that this hub did not make is not its own to delete.
        theirs = {"holds_snapshot": False} if error.code == "snapshot_exists" else {}
        await _give_back(row, state=PreparedState.FAILED, **said, **theirs)
    else:
        due_s = min(error.retry_after_s or TROUBLE_S, PAUSE_MOST.total_seconds())
        await _give_back(row, due_s=due_s, **said if error.waits_for is None else NO_ERROR)


def _is_over(row: PreparedSnapshot) -> bool:
    """Whether it has been in its state for too long; by the monotonic clock."""
    if row.begun_at is not None:
        began, most = row.begun_at, timedelta(seconds=row.version.spec.setup_limit_s)
    else:
        began, most = row.since, SERVICE_TAKES
    return watch.moment_is_past(("prepared limit", row.pk, row.state), began + most, most)


async def _give_back(row: PreparedSnapshot, *, due_s: float = 0.0, **fields: Any) -> None:
    await with_database(partial(snapshot_give_back, row, due_s=due_s, **fields))


def _preparing(row: PreparedSnapshot) -> Preparing:
    return Preparing(row.sandbox_name, row.name, row.version.spec)


def _said(code: str, message: str) -> dict[str, Any]:
    return {"error_code": code[:50], "error_message": message}


def _pause_s(attempts: int) -> float:
    return min(PAUSE_FIRST_S * 2.0**attempts, PAUSE_MOST.total_seconds())
