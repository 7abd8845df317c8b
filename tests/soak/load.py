"""Keeps executions running through the REST API, as a patient client does: what was not answered is asked again."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.soak.whole import Whole

LINES = 20
SCRIPT = f"for n in $(seq {LINES}); do echo line $n; sleep {{pause}}; done; echo {{pause}} > result.txt"
ENDED = frozenset({"completed", "failed", "stopped", "timed_out", "lost"})
ASK_S = 2.0


@dataclass
class Run:
    """A task and its one execution."""

    task_id: str
    status: str = "queued"
    error: str = ""
    exit_code: int | None = None
    began: str = ""
    """When it was asked for: before, in or after which fault."""
    lines: int = -1


class Load:
    def __init__(self, whole: Whole, at_a_time: int) -> None:
        self._whole = whole
        self._at_a_time = at_a_time
        self._stopping = asyncio.Event()
        self._refused = 0
        self.runs: list[Run] = []

    async def run(self) -> None:
        """Until `stop`, and the end of those that run then: a new execution as soon as one has ended."""
        limits = aiohttp.ClientTimeout(total=15)
        async with aiohttp.ClientSession(timeout=limits, headers=self._whole.headers) as session:
            self._session = session
            async with asyncio.TaskGroup() as group:
                for _ in range(self._at_a_time):
                    group.create_task(self._one_after_another())

    def stop(self) -> None:
        self._stopping.set()

    async def _one_after_another(self) -> None:
        while not self._stopping.is_set():
            task = await self._ask("POST", "/api/tasks/", {"title": "soaked"})
            run = Run(task["id"], began=time.strftime("%H:%M:%S"))
            pause = f"{random.uniform(0.1, 1.0):.2f}"
            # Asked twice, the second is told that the first one runs: accepted all the same.
            await self._ask("POST", f"/api/exec/{run.task_id}", {"script_content": SCRIPT.format(pause=pause)}, {409})
            self.runs.append(run)
            await self._until_ended(run)

    async def _until_ended(self, run: Run) -> None:
        while run.status not in ENDED:
            await asyncio.sleep(ASK_S)
            found = await self._ask("GET", f"/api/exec/status/{run.task_id}")
            run.status, run.error = found["status"], found.get("error_code") or ""
            run.exit_code = found.get("exit_code")
        log = await self._ask("GET", f"/api/exec/logs/{run.task_id}?tail=1000")
        run.lines = len(log["lines"])

    async def _ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, fine: set[int] | None = None
    ) -> dict[str, Any]:
        """The answer; 5xx and what was cut off are asked again, of either process."""
        while True:
            address = random.choice(self._whole.addresses)
            try:
                async with self._session.request(method, address + path, json=body) as response:
                    if response.status < 400 or response.status in (fine or set()):
                        return dict(await response.json())
                    if response.status < 500:
                        raise AssertionError(f"{method} {path}: {response.status} {await response.text()}")
            except (aiohttp.ClientError, ConnectionError, TimeoutError):
                pass  # away: as below
            self._refused += 1
            await asyncio.sleep(0.5)

    def complaints(self) -> list[str]:
        wrong = [run for run in self.runs if run.status != "completed" or run.lines != LINES]
        return [f"{len(wrong)} of {len(self.runs)} executions: {wrong[:5]}"] if wrong else []

    def summary(self) -> str:
        return f"{len(self.runs)} executions ended; {self._refused} requests were asked again"
