"""When the lines of a running log were read: written to Redis by the worker that follows it, for all other readers.

Daytona keeps no times, and each reader gets the log from its beginning. So the worker notes, at most once a second,
how far it had read by then; of a log that is over within half a second, nothing. A reader that comes later stamps its
lines with these times, as does another worker that takes the execution over. Without Redis a reader stamps lines with
its own time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import redis

from taskhub.executions.executor import LogLine
from taskhub.lib.redis_client import redis_client

log = logging.getLogger(__name__)

FIRST_S: Final = 0.5
EVERY_S: Final = 1.0
KEEP_S: Final = 48 * 3600
"""Longer than a script may run."""
_TIMEOUT_S: Final = 1.0


class LogTimes:
    """The known times: up to line `numbers[i]`, the log had been read at `times[i]` (milliseconds since 1970)."""

    def __init__(self, entries: Sequence[tuple[int, int]] = ()) -> None:
        ordered = sorted(entries)
        self._numbers = array("Q", [n for n, _ in ordered])
        self._times = array("Q", [ms for _, ms in ordered])
        self.lines = self._numbers[-1] if ordered else 0

    def stamp(self, lines: list[LogLine]) -> list[LogLine]:
        """The lines with the times that are known; the others keep theirs."""
        if not lines or lines[0].n > self.lines:
            return lines
        return [line._replace(timestamp=self._at(line.n)) if line.n <= self.lines else line for line in lines]

    def _at(self, n: int) -> datetime:
        return datetime.fromtimestamp(self._times[bisect_left(self._numbers, n)] / 1000, UTC)


async def read_times(execution_id: UUID) -> LogTimes:
    """What is known now; nothing where Redis does not answer."""
    return await asyncio.to_thread(_read, execution_id)


def _read(execution_id: UUID) -> LogTimes:
    try:
        found = redis_client(timeout_s=_TIMEOUT_S).lrange(_key(execution_id), 0, -1)
    except redis.RedisError as error:
        log.info("the times of a log cannot be read: %s", type(error).__name__)
        return LogTimes()
    pairs = (entry.decode().split() for entry in found)  # type: ignore[union-attr]  # the types are of both clients
    return LogTimes([(int(n), int(ms)) for n, ms in pairs])


class TimesWriter:
    """Notes for others how far a log was read. Belongs to the running event loop."""

    def __init__(self, execution_id: UUID, known: LogTimes) -> None:
        self._execution_id = execution_id
        self._lines = known.lines
        self._last: LogLine | None = None
        self._due: asyncio.TimerHandle | None = None
        self._writes: set[asyncio.Task[None]] = set()
        self._began = 0.0

    def note(self, lines: Sequence[LogLine]) -> None:
        """These lines have been read."""
        if not lines or lines[-1].n <= self._lines:
            return
        self._last = lines[-1]
        self._lines = self._last.n
        if self._due is None:
            # A line that comes alone is told soon; of many, one a second.
            wait_s = max(FIRST_S, self._began + EVERY_S - time.monotonic())
            self._due = asyncio.get_running_loop().call_later(wait_s, self._write_soon)

    def _write_soon(self) -> None:
        self._due = None
        self._began = time.monotonic()
        if self._last is None:
            return
        entry = f"{self._last.n} {int(self._last.timestamp.timestamp() * 1000)}"
        task = asyncio.create_task(asyncio.to_thread(_write, self._execution_id, entry))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    def close(self) -> None:
        """Nothing more is noted; what is under way is short and may end."""
        if self._due is not None:
            self._due.cancel()


def _write(execution_id: UUID, entry: str) -> None:
    try:
        with redis_client(timeout_s=_TIMEOUT_S).pipeline(transaction=False) as pipeline:
            pipeline.rpush(_key(execution_id), entry)
            pipeline.expire(_key(execution_id), KEEP_S)
            pipeline.execute()
    except redis.RedisError as error:
        log.info("the times of a log cannot be told: %s", type(error).__name__)


def _key(execution_id: UUID) -> str:
    return f"taskhub:log-times:{execution_id}"
