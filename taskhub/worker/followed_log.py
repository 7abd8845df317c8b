"""The log of a running execution, read into a spool as it is written."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

from taskhub.executions.executor import Executor, LogLine, Place, Sign
from taskhub.executions.log_archive import Archived, LogSpool
from taskhub.executions.log_reading import TAIL_LINES, tail_text
from taskhub.executions.log_times import LogTimes, TimesWriter, read_times
from taskhub.lib.cancellation import cancel_all
from taskhub.lib.storage_threads import on_storage_thread
from taskhub.lib.wakeup import Wakeup
from taskhub.models import Execution

AGAIN_S: Final = 5.0
TRIES: Final = 3
"""So often a log that its script has deleted or locked is tried: it may have been a slip."""
LOG_END_S: Final = 10.0
"""How long the rest of a log is waited for where its script has ended without an end mark."""


class FollowedLog:
    """One reading, with the times of the lines; what a lost execution printed is kept.

    `hear` is told what the log says beside its lines; `moved` is sent when the reading is over. `is_first`: no other
    worker has read it before.
    """

    def __init__(
        self,
        execution: Execution,
        place: Place,
        executor: Executor,
        hear: Callable[[Sign], None],
        moved: Wakeup,
        *,
        is_first: bool,
    ) -> None:
        self._execution = execution
        self._place = place
        self._executor = executor
        self._hear = hear
        self._moved = moved
        self._is_first = is_first
        self._spool = LogSpool()
        self._last: deque[LogLine] = deque(maxlen=TAIL_LINES)
        self._reader: asyncio.Task[None] | None = None
        self.batches = 0
        """Counts what came, so that a log that is silent can be told from one that is not."""
        self.is_lost = False
        """The sandbox does not have it any more, or does not let it be read."""
        self._is_whole = False
        self._tries = 0
        self._again_at: float | None = None

    @property
    def tail(self) -> str:
        """The last lines: at most `TAIL_LINES`, and `TAIL_BYTES` in UTF-8."""
        return tail_text(self._last)

    @property
    def lines(self) -> int:
        return self._spool.n

    @property
    def is_followed(self) -> bool:
        return self._reader is not None

    def start(self) -> asyncio.Task[None]:
        """The reading; begun now if there is none, or if one that was put off is due."""
        if self._reader is None or (self._again_at is not None and self.again_in_s <= 0):
            self._again_at = None
            self._reader = asyncio.create_task(self._read())
            self._reader.add_done_callback(lambda _: self._moved.send())
        return self._reader

    def is_over(self) -> bool:
        return self._reader is not None and self._reader.done()

    def read_again(self) -> None:
        """Where the reading has failed: the next `start` begins another."""
        if self.is_over():
            self._reader = None

    async def rest(self) -> None:
        """The log to its end; the script has ended, so one that stays silent is over."""
        done, _ = await asyncio.wait([self.start()], timeout=LOG_END_S)
        if not done:
            self._spool.cut(f"it had not ended {LOG_END_S:.0f} s after the script")

    @property
    def again_in_s(self) -> float:
        """Seconds until a reading that was put off is due; infinite if none is."""
        return math.inf if self._again_at is None else self._again_at - time.monotonic()

    def put_off(self, *, is_gone: bool) -> None:
        """The sandbox refuses it: try again later, or give it up. `is_gone`: there is no such log."""
        self._tries += 1
        if self._tries >= TRIES:
            self.lose(is_gone=is_gone)
        else:
            self._again_at = time.monotonic() + AGAIN_S

    @property
    def is_unread(self) -> bool:
        """It was given up, has been refused, or nothing has come of it; and no snapshot has it."""
        if self._is_whole or self._reader is None:
            return False
        if not self._reader.done():
            return self.is_lost or not self.batches
        return self.is_lost or self._reader.cancelled() or self._reader.exception() is not None

    def add_whole(self, lines: list[LogLine]) -> None:
        """The log as a snapshot has it."""
        self._is_whole = True
        self.add(lines)

    def lose(self, *, is_gone: bool = False) -> None:
        if self.is_lost:
            return
        self.is_lost = True
        self._spool.cut(f"the sandbox does not {'have it any more' if is_gone else 'let it be read'}")

    def add(self, lines: list[LogLine]) -> None:
        """Lines that were read here, or come from another source because they cannot be followed any more."""
        known = self._last[-1].n if self._last else 0
        self._last.extend([line for line in lines[-TAIL_LINES:] if line.n > known])
        self._spool.add(lines)

    async def store(self) -> Archived:
        """The archive of what was read; the reading may go on."""
        self._spool.finish()
        return await on_storage_thread(self._spool.store, self._execution.log_file)

    async def close(self) -> None:
        await cancel_all(*([self._reader] if self._reader is not None else []))
        self._spool.close()

    async def _read(self) -> None:
        times = LogTimes() if self._is_first else await read_times(self._execution.pk)
        writer = TimesWriter(self._execution.pk, times)
        log_lines = self._executor.follow_log(
            self._place,
            on_sign=self._hear,
            enough=lambda: self._spool.is_cut,
            is_watched=bool(self._place.log_token),
        )
        try:
            async with aclosing(log_lines) as batches:
                async for batch in batches:
                    self.batches += 1
                    stamped = times.stamp(batch)
                    self.add(stamped)
                    writer.note(stamped)
        finally:
            writer.close()
