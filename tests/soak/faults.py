"""Faults that a machine and its operators make: a full disk, a clock that is set, a frozen worker, a forgotten lock.

Each comes once, alone: no part is killed meanwhile. Afterwards all must have gone on by itself.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import psycopg

from tests.clocks import WallClock
from tests.soak.whole import Whole

DISK_S: Final = 30.0
CLOCK_S: Final = 20.0
FROZEN_S: Final = 60.0
LOCK_S: Final = 20.0
SET_BY_S: Final = 3600
LOCKED: Final = {
    "the counter of events": "SELECT 1 FROM django_eventstream_eventcounter FOR UPDATE",
    "the state of the admission": "SELECT 1 FROM taskhub_admissionstate FOR UPDATE",
    "what runs, with its tasks": "SELECT 1 FROM taskhub_task t JOIN taskhub_execution e ON e.task_id = t.id "
    "WHERE e.status IN ('starting', 'running') FOR UPDATE",
}


class Faults:
    """`small_disk`: the data folder is a file system of its own, which may be filled."""

    def __init__(self, whole: Whole, clock: WallClock | None, *, small_disk: bool, rng: random.Random) -> None:
        self._whole = whole
        self._clock = clock
        self._rng = rng
        self.left_out: list[str] = []
        self._todo: dict[str, Callable[[], Awaitable[None]]] = {"worker": self._freeze, "lock": self._lock}
        for name, fault, can in (
            ("disk", self._fill, small_disk),
            ("clock", self._set_clock, clock is not None),
        ):
            if can:
                self._todo[name] = fault
            else:
                self.left_out.append(name)
        self.done: list[str] = []

    def leave_out_all(self) -> None:
        self._todo.clear()

    async def next(self) -> bool:
        """One that has not been there; False if all have."""
        if not self._todo:
            return False
        name = self._rng.choice(sorted(self._todo))
        await self._todo.pop(name)()
        self.done.append(name)
        return True

    async def _fill(self) -> None:
        tell(f"the disk of the data folder is full for {DISK_S:.0f} s")
        ballast = self._whole.data / "ballast"
        try:
            until = time.monotonic() + DISK_S
            while time.monotonic() < until:  # what others delete is taken, too
                await asyncio.to_thread(fill, ballast)
                await asyncio.sleep(0.5)
        finally:
            ballast.unlink(missing_ok=True)
        tell("the disk has room again")

    async def _set_clock(self) -> None:
        assert self._clock is not None
        for by_s, words in (
            (-SET_BY_S, "an hour back"),
            (0, "right again"),
            (SET_BY_S, "an hour forward"),
            (0, "right"),
        ):
            tell(f"the wall clock is set: {words}")
            self._clock.set(by_s)
            await asyncio.sleep(CLOCK_S)

    async def _freeze(self) -> None:
        name = self._rng.choice([part for part in self._whole.parts if part.startswith("worker")])
        process = self._whole.processes[name]
        tell(f"{name} is stopped for {FROZEN_S:.0f} s")
        with process.frozen():
            await asyncio.sleep(FROZEN_S)

    async def _lock(self) -> None:
        for what, statement in LOCKED.items():
            tell(f"{what} is locked for {LOCK_S:.0f} s")
            async with await psycopg.AsyncConnection.connect(self._whole.database_url) as forgotten:
                await forgotten.execute(statement)
                await asyncio.sleep(LOCK_S)
                await forgotten.rollback()


def fill(file: Path) -> None:
    """Write until nothing more fits."""
    try:
        with file.open("ab", buffering=0) as ballast:
            while True:
                ballast.write(bytes(64 * 1024))
    except OSError:
        pass


def tell(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {words}", flush=True)
