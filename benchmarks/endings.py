"""How soon an execution starts and how soon its end is told, one execution at a time; what many cost upstream."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from benchmarks.sandboxes import Hub, hub
from benchmarks.scenarios import Sample, Scenario
from benchmarks.servers import HOST, Template, cpu_s
from benchmarks.writers import WriterProcess
from tests.processes import wait_until

FIRST: Final = 5
MEASURED: Final = 100
ENDS_WITHIN_S: Final = 60.0
SCRIPT: Final = "date +%s.%N\ndate +%s.%N\n"
"""Its first line is the time of its first instruction, its last one that of its last act."""
REAL: Final = "TASKHUB_BENCH_DAYTONA"
"""Environment variable: the address and the key, with a space between, of a sandbox service that runs already."""
_STAMP: Final = re.compile(r"\d{10}\.\d{9}")


@dataclass
class Seen:
    """What a client saw of an execution: times (`time.time()`)."""

    asked: float
    completed: float = 0.0
    log_complete: float = 0.0
    stamps: list[float] = field(default_factory=list)


def run(database: Template, _: WriterProcess) -> Sample:
    with hub(database, polls=True) as running:
        sample = asyncio.run(_one_by_one(running))
    with hub(database, polls=True, transition_ms=0) as running:
        at_once = asyncio.run(_one_by_one(running))
    return {**sample, "first_bare_p50": at_once["first_p50"]}


def run_real(database: Template, _: WriterProcess) -> Sample:
    url, key = os.environ[REAL].split()
    with hub(database, polls=True, at=(url, key)) as running:
        return asyncio.run(_one_by_one(running))


async def _one_by_one(running: Hub) -> Sample:
    headers = {"Authorization": f"Bearer {running.server.token}"}
    base = f"http://{HOST}:{running.server.port}"
    async with aiohttp.ClientSession(base, headers=headers) as session, ends_of(session) as ends:
        for _ in range(FIRST):
            await _execute(session, ends)
        assert running.worker is not None
        before = cpu_s(running.worker.pid)
        seen = [await _execute(session, ends) for _ in range(MEASURED)]
        cpu = cpu_s(running.worker.pid) - before
    completed = sorted(1e3 * (each.completed - each.stamps[-1]) for each in seen)
    log_complete = sorted(1e3 * (each.log_complete - each.stamps[-1]) for each in seen)
    first = sorted(1e3 * (each.stamps[0] - each.asked) for each in seen)
    return {
        **{f"completed_{name}": value for name, value in _percentiles(completed).items()},
        **{f"log_{name}": value for name, value in _percentiles(log_complete).items()},
        **{f"first_{name}": value for name, value in _percentiles(first).items()},
        "cpu_ms": cpu / MEASURED * 1e3,
    }


def _percentiles(values: list[float]) -> dict[str, float]:
    return {"p50": values[len(values) // 2], "p99": values[min(len(values) - 1, len(values) * 99 // 100)]}


async def _execute(session: aiohttp.ClientSession, ends: dict[str, asyncio.Future[float]]) -> Seen:
    async with session.post("/api/tasks/", json={"title": "measured"}) as answer:
        task_id = (await answer.json())["id"]
    seen = Seen(time.time())
    async with session.post(f"/api/exec/{task_id}", json={"script_content": SCRIPT}) as answer:
        assert answer.status == 202, await answer.text()
        execution_id = (await answer.json())["execution_id"]
    ended = ends.setdefault(execution_id, asyncio.get_running_loop().create_future())
    async with asyncio.timeout(ENDS_WITHIN_S):
        await _read_log(session, task_id, seen)
        seen.completed = await ended
    assert len(seen.stamps) == 2, seen
    return seen


async def _read_log(session: aiohttp.ClientSession, task_id: str, seen: Seen) -> None:
    async with session.get(f"/api/exec/logs/{task_id}/stream", timeout=aiohttp.ClientTimeout()) as stream:
        async for line in stream.content:
            if line.startswith(b"event: log-complete"):
                seen.log_complete = time.time()
                return
            if line.startswith(b"data:"):
                seen.stamps += map(float, _STAMP.findall(line.decode()))


@contextlib.asynccontextmanager
async def ends_of(session: aiohttp.ClientSession) -> AsyncIterator[dict[str, asyncio.Future[float]]]:
    """By execution: when the frame of its end came."""
    ends: dict[str, asyncio.Future[float]] = {}
    is_open = asyncio.Event()

    async def read() -> None:
        async with session.get("/api/events/stream", timeout=aiohttp.ClientTimeout()) as stream:
            async for line in stream.content:
                is_open.set()
                if not line.startswith(b"data:") or b"execution_event" not in line:
                    continue
                data = json.loads(line.removeprefix(b"data:"))["data"]
                ended = ends.setdefault(data["execution_id"], asyncio.get_running_loop().create_future())
                if data["execution_event"] == "completed":
                    ended.set_result(time.time())
                elif data["execution_event"] not in {"started", "waiting"}:
                    ended.set_exception(AssertionError(f"an execution ended otherwise: {data}"))

    reading = asyncio.create_task(read())
    await is_open.wait()
    try:
        yield ends
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


# --- What many cost upstream --------------------------------------------------------------------------
RUNNING: Final = int(os.environ.get("TASKHUB_BENCH_RUNNING", "500"))
WATCH_S: Final = 60.0
SETTLE_S: Final = 10.0


def upstream(database: Template, _: WriterProcess) -> Sample:
    with hub(database, polls=True) as running:
        assert running.worker is not None
        with _many(running):
            time.sleep(SETTLE_S)
            before, cpu = running.requests(), cpu_s(running.worker.pid)
            time.sleep(WATCH_S)
            after, spent = running.requests(), cpu_s(running.worker.pid) - cpu
    asked = {route: count - before.get(route, 0) for route, count in after.items()}
    inside = sum(count for route, count in asked.items() if "/toolbox/" in route)
    return {
        "control": (sum(asked.values()) - inside) * 60 / WATCH_S,
        "inside": inside / RUNNING * 5 / WATCH_S,
        "cpu": spent / WATCH_S * 100,
    }


@contextlib.contextmanager
def _many(running: Hub) -> Iterator[None]:
    """That many executions run, each in a sandbox of its own."""
    tasks = [str(running.post("/api/tasks/", {"title": "measured"})["id"]) for _ in range(RUNNING)]
    for task_id in tasks:
        running.post(f"/api/exec/{task_id}", {"script_content": "exec sleep 100000"})
    for task_id in tasks:
        wait_until(lambda task_id=task_id: _status(running, task_id) == "running", "a running execution", 600)
    yield


def _status(running: Hub, task_id: str) -> str:
    return str(running.api.get(f"/api/exec/status/{task_id}").raise_for_status().json()["status"])


_METHOD: Final = (
    f"{MEASURED} executions of a script that prints the time twice, one after another, after {FIRST} others; a client "
    "follows the log and another the events. From the script's last act to the frame of its end (`completed`) and to "
    "`log-complete`; from the request to the script's first instruction. Wall time: a busy machine shows. The local "
    "sandbox server keeps a new sandbox in `creating` for 20 ms (`--transition-ms`, its default); the last of these "
    "figures is measured with 0. "
)


def _figures(most_p50: float, most_p99: float, first: float | None) -> list[tuple[str, str, str, float | None, None]]:
    return [
        ("completed_p50", "script's end → `completed`, p50", "ms", most_p50, None),
        ("completed_p99", "script's end → `completed`, p99", "ms", most_p99, None),
        ("log_p50", "script's end → `log-complete`, p50", "ms", most_p50, None),
        ("log_p99", "script's end → `log-complete`, p99", "ms", most_p99, None),
        ("first_p50", "request → the script's first instruction, p50", "ms", first, None),
        ("first_p99", "request → the script's first instruction, p99", "ms", None, None),
        ("first_bare_p50", "request → first instruction, without the server's 20 ms, p50", "ms", first, None),
        ("cpu_ms", "CPU of the worker per execution", "ms", None, None),
    ]


SCENARIOS: Final = [
    Scenario("endings", f"{_METHOD}On the local sandbox server.", run, [*_figures(100, 300, 80)]),
    Scenario(
        "executions-upstream",
        f"{RUNNING} executions run, each in a sandbox of its own, and nothing happens; what the sandbox service is "
        f"asked in {WATCH_S:.0f} s: its control API, and the sandboxes themselves.",
        upstream,
        [
            ("control", f"requests a minute to the control API, {RUNNING} running", "1/min", 60, None),
            ("inside", "requests to a sandbox in 5 s", "", 1, None),
            ("cpu", "the worker's CPU", "% of a core", None, None),
        ],
    ),
]
REAL_SCENARIO: Final = Scenario(
    "endings-daemon",
    f"{_METHOD}Each sandbox has Daytona's own daemon (v0.190).",
    run_real,
    [*_figures(100, 300, None)],
)
