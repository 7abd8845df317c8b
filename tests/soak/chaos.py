"""Kills a part at random, and starts it again some seconds later; between the kills, other faults."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter

from tests.postgres import Postgres
from tests.soak.faults import Faults
from tests.soak.whole import Whole

EVERY_S = (6.0, 14.0)
AWAY_S = (0.0, 6.0)
KILLS = (1, 2)
"""Between two other faults."""
POLITELY = 0.25
"""How often a part is asked to end instead of being killed."""


class Chaos:
    def __init__(self, whole: Whole, postgres: Postgres, parts: list[str], faults: Faults, rng: random.Random) -> None:
        self._whole = whole
        self._faults = faults
        self._postgres = postgres
        self._parts = parts
        self._rng = rng
        self.killed: Counter[str] = Counter()

    async def run(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await self._faults.next()
            for _ in range(self._rng.randint(*KILLS)):
                await asyncio.sleep(self._rng.uniform(*EVERY_S))
                if self._parts:
                    await self._strike(self._rng.choice(self._parts))
        while await self._faults.next():
            pass

    async def _strike(self, part: str) -> None:
        number = signal.SIGTERM if self._rng.random() < POLITELY else signal.SIGKILL
        away_s = self._rng.uniform(*AWAY_S)
        process = self._postgres.process if part == "postgres" else self._whole.processes[part]
        print(f"{time.strftime('%H:%M:%S')} {part}: {number.name}, away for {away_s:.1f} s", flush=True)
        process.signal(number)
        await asyncio.sleep(away_s)
        # Whatever is left of it goes now: PostgreSQL's children, a worker that waits for its jobs.
        await asyncio.to_thread(process.end)
        start = self._postgres.start if part == "postgres" else lambda: self._whole.start_part(part)
        await asyncio.to_thread(start)
        self.killed[part] += 1

    def summary(self) -> str:
        killed = ", ".join(f"{part} {times}" for part, times in sorted(self.killed.items()))
        return f"{killed or 'nothing'}; other faults: {', '.join(self._faults.done) or 'none'}"
