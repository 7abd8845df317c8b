"""Whether the memory of the processes stays, once they have warmed up."""

from __future__ import annotations

import asyncio
import time
from statistics import median

from tests.live.live_client import resident_kib
from tests.soak.whole import Whole

EVERY_S = 5.0
WARM_S = 45.0
MAY_GROW = 1.1
MAY_GROW_KIB = 10 * 1024
"""A process may take this much more in the last third of the time than in the first, whichever is more."""


class Memory:
    def __init__(self, whole: Whole) -> None:
        self._whole = whole
        self._samples: dict[str, list[int]] = {}

    async def watch(self, seconds: float) -> None:
        """Of processes that all live for as long as this takes."""
        await asyncio.sleep(min(WARM_S, seconds / 3))
        until = time.monotonic() + seconds - min(WARM_S, seconds / 3)
        while time.monotonic() < until:
            for name, process in self._whole.processes.items():
                self._samples.setdefault(name, []).append(resident_kib(process.pid))
            await asyncio.sleep(EVERY_S)

    def _grown(self) -> dict[str, tuple[float, float]]:
        thirds = {name: max(1, len(samples) // 3) for name, samples in self._samples.items()}
        return {
            name: (median(samples[: thirds[name]]), median(samples[-thirds[name] :]))
            for name, samples in self._samples.items()
        }

    def complaints(self) -> list[str]:
        return [
            f"{name} grew from {first / 1024:.0f} to {last / 1024:.0f} MiB"
            for name, (first, last) in self._grown().items()
            if last > max(first * MAY_GROW, first + MAY_GROW_KIB)
        ]

    def summary(self) -> str:
        told = [f"{name} {first / 1024:.0f} → {last / 1024:.0f}" for name, (first, last) in self._grown().items()]
        return "MiB at the start and the end of the quiet time: " + ", ".join(told)
