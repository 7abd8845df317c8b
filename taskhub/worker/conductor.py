"""The executions that this process starts and follows, many at a time, on its event loop.

Jobs hand executions over and return at once. A lease on each row says whose it is; this renews them all in one
statement. If the process dies, the leases run out and the reconciliation hands the executions to another. If it is told
to end, it gives the leases back and sends the jobs that another worker goes on with (`begin_close`, `close`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.db import Error as DatabaseTrouble

from taskhub.executions.executor import ExecutorError
from taskhub.lib.cancellation import cancel_all
from taskhub.lib.event_loops import own_loop
from taskhub.lib.per_loop import PerLoop
from taskhub.lib.wakeup import Wakeup
from taskhub.models import Execution, ExecutionStatus
from taskhub.services import execution_leases
from taskhub.services.dispatch import EXECUTION_END, EXECUTION_START, send_job
from taskhub.services.execution_leases import executions_shift_start
from taskhub.web.thread_pool import with_database
from taskhub.worker.following import Following
from taskhub.worker.preparation import Lost, shift_times
from taskhub.worker.starting import start

log = logging.getLogger(__name__)

SET_S: Final = 2.0
"""A wall clock that is so far from where it should be, by the monotonic clock, was set."""
LEASE_S: Final = 15.0
"""How long a dead process keeps its executions from others."""
RENEW_S: Final = 5.0
TICK_S: Final = 1.0
"""How often the rows are read: a stop may have been asked for through another process."""
STARTS_AT_ONCE: Final = 16
ASKED_MOST: Final = 10_000
"""Executions that wait for their turn; of those before, the admission sends a job."""
REST_S: Final = 2.0
"""How long a process that ends waits for starts and ends that are under way."""
CLOSE_S: Final = 10.0


class Conductor:
    """Belongs to one event loop; its methods are called on it."""

    def __init__(self) -> None:
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._held: dict[UUID, Execution] = {}
        """Those whose lease is this process's."""
        self._holds = Wakeup()
        self._followed: dict[UUID, Following] = {}
        self._asked: OrderedDict[UUID, None] = OrderedDict()
        """Whose start was asked for here, and which have to wait for their turn, the latest last."""
        self._starts = asyncio.Semaphore(STARTS_AT_ONCE)
        self._ticker: asyncio.Task[None] | None = None
        self._renew_at = 0.0
        self._clock_offset = _clock_offset()
        self._looks: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None

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
        if execution_id in self._tasks or self._closing is not None:
            return  # the reconciliation sends what a process that ends has not begun
        if self._ticker is None or self._ticker.done():
            self._ticker = asyncio.create_task(self._tick_for_ever())
        task = self._tasks[execution_id] = asyncio.create_task(work(), name=f"execution-{execution_id}")
        task.add_done_callback(lambda done: self._ended(execution_id, done))

    def _ended(self, execution_id: UUID, task: asyncio.Task[None]) -> None:
        self._tasks.pop(execution_id, None)
        self._held.pop(execution_id, None)
        self._followed.pop(execution_id, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            # The boundary of a task, as a job's is: its lease runs out, and it is taken up again.
            log.error("execution %s cannot be followed", execution_id, exc_info=error)

    async def _start(self, execution_id: UUID) -> None:
        async with self._starts:
            if self._closing is not None:
                return
            self._remember(execution_id)
            takes = partial(self._takes, asyncio.get_running_loop())
            execution = await start(execution_id, lease_s=LEASE_S, on_claim=self._hold, takes=takes)
        if execution is not None:
            await self._follow(execution, is_first=True)

    def _remember(self, execution_id: UUID) -> None:
        """Before it is looked at: it may be admitted at any time after."""
        self._asked[execution_id] = None
        self._asked.move_to_end(execution_id)
        if len(self._asked) > ASKED_MOST:
            self._asked.popitem(last=False)

    def _takes(self, loop: asyncio.AbstractEventLoop, execution_id: UUID) -> bool:
        """Whether an execution that was admitted here is started here; from any thread.

        Its job came before its turn. Should this process die now, the reconciliation sends another.
        """
        if execution_id not in self._asked or self._closing is not None:
            return False
        loop.call_soon_threadsafe(self._start_admitted, execution_id)
        return True

    def _start_admitted(self, execution_id: UUID) -> None:
        if earlier := self._tasks.get(execution_id):
            # Of the job that came before its turn: it is on its way out, or has just claimed it after all.
            earlier.add_done_callback(lambda _: self._start_asked(execution_id))
        else:
            self.start(execution_id)

    def _start_asked(self, execution_id: UUID) -> None:
        if execution_id in self._asked:
            self.start(execution_id)

    def _hold(self, execution: Execution) -> None:
        self._asked.pop(execution.pk, None)
        self._held[execution.pk] = execution
        self._holds.send()

    async def _take(self, execution_id: UUID) -> None:
        execution = await with_database(
            execution_leases.execution_take_lease,
            execution_id=execution_id,
            status=ExecutionStatus.RUNNING,
            lease_s=LEASE_S,
        )
        if execution is not None:
            await self._follow(execution, is_first=False)

    async def _follow(self, execution: Execution, *, is_first: bool) -> None:
        self._hold(execution)
        following = self._followed[execution.pk] = Following(execution, is_first=is_first)
        try:
            await following.run()
        except Lost:
            log.info("execution %s is followed by another worker, or has ended", execution.pk)
        except ExecutorError as error:
            log.warning("execution %s cannot be followed now: %s", execution.pk, error.code)

    # All of them together.

    async def _tick_for_ever(self) -> None:
        while True:
            if not self._held:
                await self._holds.wait()
                self._clock_offset = _clock_offset()
            await asyncio.sleep(TICK_S)
            try:
                await self._tick()
            except DatabaseTrouble as error:
                log.warning("executions cannot be looked at: %s", type(error).__name__)

    async def _tick(self) -> None:
        renew = time.monotonic() >= self._renew_at
        held = {execution_id: execution.fence for execution_id, execution in self._held.items()}
        await self._follow_clock(held)
        rows = await with_database(execution_leases.executions_seen, fences=held, renew_s=LEASE_S if renew else None)
        if renew:
            self._renew_at = time.monotonic() + RENEW_S
        for execution_id in held:
            self._take_notice(execution_id, rows.get(execution_id))

    async def _follow_clock(self, held: dict[UUID, int]) -> None:
        """The next worker takes what a script has left from the wall clock: it is told, by the row, if that was set."""
        set_by = _clock_offset() - self._clock_offset
        if abs(set_by) < SET_S:
            return
        log.warning("the wall clock was set by %.0f s", set_by)
        by = timedelta(seconds=set_by)
        await with_database(executions_shift_start, fences=held, by=by)
        self._clock_offset += set_by
        for following in self._followed.values():
            shift_times(following.execution, by)

    def _take_notice(self, execution_id: UUID, row: execution_leases.Seen | None) -> None:
        following = self._followed.get(execution_id)
        if following is None or row is None:
            return  # it is being started, or has just ended and is on its way out
        execution = following.execution
        if row.fence != execution.fence:
            self._tasks[execution_id].cancel()
        elif row.stop_requested_at is not None and execution.stop_requested_at is None:
            execution.stop_requested_at = row.stop_requested_at
            following.moved.send()

    def _look_soon(self, execution_id: UUID) -> None:
        held = {execution_id: self._followed[execution_id].execution.fence}

        async def look() -> None:
            rows = await with_database(execution_leases.executions_seen, fences=held, renew_s=None)
            self._take_notice(execution_id, rows.get(execution_id))

        task = asyncio.create_task(look())
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)

    # The end of the process.

    def begin_close(self) -> asyncio.Task[None]:
        """Begin nothing more, and hand over what there is; the task ends when that is done."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        return self._closing

    async def _close(self) -> None:
        await self._come_to_rest()
        held, begun = list(self._held.values()), set(self._tasks)
        await cancel_all(*([self._ticker] if self._ticker else []), *self._looks, *self._tasks.values())
        for execution in held:
            await with_database(_hand_back, execution)
        for execution_id in begun - {execution.pk for execution in held}:
            await with_database(send_job, EXECUTION_START, execution_id)
        if held:
            log.info("%d executions are handed over", len(held))

    async def _come_to_rest(self) -> None:
        """Until nothing is being started or settled: what is half done another worker would have to do again."""
        until = time.monotonic() + REST_S
        while time.monotonic() < until:
            starting = self._held.keys() - self._followed.keys()
            if not starting and not any(following.is_settling for following in self._followed.values()):
                return
            await asyncio.sleep(0.02)


def _clock_offset() -> float:
    return time.time() - time.monotonic()


def _hand_back(execution: Execution) -> None:
    """Give the lease back, and have another worker go on at once."""
    execution_leases.execution_postpone(execution=execution, retry_s=0.0)
    send_job(EXECUTION_END if execution.is_followed else EXECUTION_START, execution.pk)


_conductors: Final = PerLoop(Conductor)


def hand_over(loop: asyncio.AbstractEventLoop, act: Callable[[Conductor], None]) -> None:
    """Call `act` on the loop's conductor; from any thread, without waiting."""

    async def call() -> None:
        act(_conductors.get())

    asyncio.run_coroutine_threadsafe(call(), loop)


def begin_close() -> None:
    """This process is told to end: hand its executions over. Does not wait; may be called in a signal's handler."""
    _close(wait_s=None)


def close() -> None:
    """Hand this process's executions over, and return when that is done, at most CLOSE_S later."""
    _close(wait_s=CLOSE_S)


def _close(*, wait_s: float | None) -> None:
    loop = own_loop()
    if loop is None or loop.is_closed():
        return  # no job has run here

    async def call() -> None:
        await _conductors.get().begin_close()

    closing = asyncio.run_coroutine_threadsafe(call(), loop)
    if wait_s is None:
        return
    try:
        closing.result(wait_s)
    except (TimeoutError, DatabaseTrouble) as error:
        # The leases run out, and others take over then.
        log.warning("executions are not handed over: %s", type(error).__name__)
