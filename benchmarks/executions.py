"""What an execution costs the worker that starts it, looks at it and keeps its log, in a sandbox of its own."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import Final

import aiohttp

from benchmarks.endings import ends_of
from benchmarks.sandboxes import Hub, hub
from benchmarks.scenarios import Sample, Scenario
from benchmarks.servers import HOST, Template, cpu_s, rss_bytes
from benchmarks.writers import WriterProcess

FIRST: Final = 5
MEASURED: Final = 60
WITHIN_S: Final = 180.0


def run(database: Template, _: WriterProcess) -> Sample:
    with hub(database, polls=True) as running:
        assert running.worker is not None
        worker = running.worker.pid
        _execute(running, FIRST)  # the worker's first jobs load what the later ones find loaded
        cpu, memory = cpu_s(worker), rss_bytes(worker)
        elapsed_s = _execute(running, MEASURED)
        return {
            "per_s": MEASURED / elapsed_s,
            "cpu_ms": (cpu_s(worker) - cpu) / MEASURED * 1e3,
            "grown_kib": (rss_bytes(worker) - memory) / MEASURED / 1024,
            "mib": rss_bytes(worker) / 1024**2,
        }


def _execute(running: Hub, count: int) -> float:
    """All at once; returns when the last one has ended: the seconds since the first was asked for."""
    return asyncio.run(_execute_all(running, count))


async def _execute_all(running: Hub, count: int) -> float:
    """Their ends are heard in one stream: to ask for each would take a third of a core."""
    headers = {"Authorization": f"Bearer {running.server.token}"}
    base = f"http://{HOST}:{running.server.port}"
    tasks = [str(running.post("/api/tasks/", {"title": "measured"})["id"]) for _ in range(count)]
    async with aiohttp.ClientSession(base, headers=headers) as session, ends_of(session) as ends:
        began = time.monotonic()
        for task_id in tasks:
            async with session.post(f"/api/exec/{task_id}", json={"script_content": "echo done"}) as answer:
                assert answer.status == HTTPStatus.ACCEPTED, await answer.text()
                execution_id = (await answer.json())["execution_id"]
                ends.setdefault(execution_id, asyncio.get_running_loop().create_future())
        async with asyncio.timeout(WITHIN_S):
            await asyncio.gather(*ends.values())
        return time.monotonic() - began


SCENARIO: Final = Scenario(
    "executions",
    f"{MEASURED} executions of a script of one line, accepted at once, each in a sandbox of its own, by one worker of "
    "eight threads. The sandbox server and the scripts run on the same two cores; the CPU time is the worker's, and so "
    "is the memory. The rate is wall time: a busy machine shows.",
    run,
    [
        ("per_s", "executions that end per second", "1/s", None, 12),
        ("cpu_ms", "CPU of the worker per execution", "ms", 20, None),
        ("grown_kib", "memory that the worker took more, per execution", "KiB", None, None),
        ("mib", "memory of the worker at the end", "MiB", None, None),
    ],
)
