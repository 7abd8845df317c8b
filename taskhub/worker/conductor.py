"""The executions that this process starts and follows, many at a time, on its event loop.

Jobs hand executions over and return at once. A lease on each row says whose it is; this renews them all in one
statement. If the process dies, the leases run out and the reconciliation hands the executions to another.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final
from uuid import UUID

from django.db import DatabaseError

from taskhub.executions.executor import ExecutorError
from taskhub.lib.cancellation import cancel_all
from taskhub.lib.event_loops import keep_open
from taskhub.lib.per_loop import PerLoop
from taskhub.models import Execution, ExecutionStatus
from taskhub.services import executions
from taskhub.worker.database import in_database, own_threads
from taskhub.worker.following import Following, Lost
from taskhub.worker.starting import start

log = logging.getLogger(__name__)

LEASE_S: Final = 15.0
"""How long a dead process keeps its executions from others."""
RENEW_S: Final = 5.0
TICK_S: Final = 1.0
"""How often the rows are read: a stop may have been asked for through another process."""
STARTS_AT_ONCE: Final = 16


class Conductor:
    """Belongs to one event loop; its methods are called on it."""

    def __init__(self) -> None:
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._followed: dict[UUID, Following] = {}
        self._starts = asyncio.Semaphore(STARTS_AT_ONCE)
        self._ticker: asyncio.Task[None] | None = None
        self._renew_at = 0.0
        self._looks: set[asyncio.Task[None]] = set()

    def start(self, execution_id: UUID) -> None:
        """Start a queued execution, and follow it."""
        self._begin(execution_id, lambda: self._start(execution_id))

    def attend(self, execution_id: UUID) -> None:
        """Follow a running execution, or look now whether it is to be ended."""
        if execution_id in self._followed:
            self._look_soon(execution_id)
        else:
            self._begin(execution_id, lambda: self._take(execution_id))

    def gone(self, execution_id: UUID) -> None:
        """Its sandbox is gone."""
        if following := self._followed.get(execution_id):
            following.is_gone = True
            following.moved.send()

    def _begin(self, execution_id: UUID, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if execution_id in self._tasks:
            return
        if self._ticker is None:
            keep_open().push_async_callback(self.close)
            self._ticker = asyncio.create_task(self._tick_for_ever())
        task = self._tasks[execution_id] = asyncio.create_task(work(), name=f"execution-{execution_id}")
        task.add_done_callback(lambda done: self._ended(execution_id, done))

    def _ended(self, execution_id: UUID, task: asyncio.Task[None]) -> None:
        self._tasks.pop(execution_id, None)
        self._followed.pop(execution_id, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            # The boundary of a task, as a job's is: its lease runs out, and it is taken up again.
            log.error("execution %s cannot be followed", execution_id, exc_info=error)

    async def _start(self, execution_id: UUID) -> None:
        async with self._starts:
            execution = await start(execution_id, keep_s=LEASE_S)
        if execution is not None:
            await self._follow(execution)

    async def _take(self, execution_id: UUID) -> None:
        execution = await in_database(
            executions.execution_take_lease, execution_id=execution_id, status=ExecutionStatus.RUNNING, lease_s=LEASE_S
        )
        if execution is not None:
            await self._follow(execution)

    async def _follow(self, execution: Execution) -> None:
        following = self._followed[execution.pk] = Following(execution)
        try:
            await following.run()
        except Lost:
            log.info("execution %s is followed by another worker, or has ended", execution.pk)
        except ExecutorError as error:
            log.warning("execution %s cannot be followed now: %s", execution.pk, error.code)

    # All of them together.

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            if not self._followed:
                continue
            try:
                await self._tick()
            except DatabaseError as error:
                log.warning("executions cannot be looked at: %s", type(error).__name__)

    async def _tick(self) -> None:
        renew = time.monotonic() >= self._renew_at
        followed = dict(self._followed)
        rows = await in_database(executions.executions_seen, ids=list(followed), renew_s=LEASE_S if renew else None)
        if renew:
            self._renew_at = time.monotonic() + RENEW_S
        for execution_id, following in followed.items():
            self._take_notice(following, rows.get(execution_id))

    def _take_notice(self, following: Following, row: executions.Seen | None) -> None:
        execution = following.execution
        if row is None or row.fence != execution.fence:
            task = self._tasks.get(execution.pk)
            # One that has just ended is on its way out.
            if task is not None and row is not None:
                task.cancel()
            return
        if row.stop_requested_at is not None and execution.stop_requested_at is None:
            execution.stop_requested_at = row.stop_requested_at
            following.moved.send()

    def _look_soon(self, execution_id: UUID) -> None:
        async def look() -> None:
            rows = await in_database(executions.executions_seen, ids=[execution_id], renew_s=None)
            if following := self._followed.get(execution_id):
                self._take_notice(following, rows.get(execution_id))

        task = asyncio.create_task(look())
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)

    async def close(self) -> None:
        """The process ends: others may go on at once."""
        mine = [following.execution for following in self._followed.values()]
        await cancel_all(*([self._ticker] if self._ticker else []), *self._looks, *self._tasks.values())
        for execution in mine:
            await in_database(executions.execution_postpone, execution=execution, retry_s=0.0)


_conductors: Final = PerLoop(Conductor)


def hand_over(loop: asyncio.AbstractEventLoop, act: Callable[[Conductor], None]) -> None:
    """Call `act` on the loop's conductor; from any thread, without waiting."""

    async def call() -> None:
        own_threads.set(True)
        act(_conductors.get())

    asyncio.run_coroutine_threadsafe(call(), loop)
