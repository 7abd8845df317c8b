"""What watching sandboxes costs: requests to Daytona, the time of a tick, lines of a log per second, delays."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import httpx

from benchmarks.scenarios import Sample, Scenario
from benchmarks.servers import HOST, Server, Template, web_process
from benchmarks.streams import Fleet, Plan
from benchmarks.writers import WriterProcess
from tests.processes import Process, wait_until

KEY: Final = "only-for-benchmarks"
GREETING: Final = b"event: connected"
STATUS_PATH: Final = "/api/sandbox"
SESSIONS_PATH: Final = "/process/session"
HALF_A_TICK_S: Final = 2.5
PAGES_ROUTE: Final = "GET /api/sandbox"


@dataclass
class Hub:
    """A web process, and the sandbox server it watches; the worker, where there is one."""

    server: Server
    upstream: str
    worker: Process | None
    upstream_headers = {"Authorization": f"Bearer {KEY}", "X-Daytona-SDK-Version": "0.226.1"}

    def __post_init__(self) -> None:
        self.api = httpx.Client(
            base_url=f"http://{HOST}:{self.server.port}",
            headers={"Authorization": f"Bearer {self.server.token}"},
            timeout=60,
        )

    def post(self, address: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.api.post(address, json=body)
        answer.raise_for_status()
        made: dict[str, Any] = answer.json()
        return made

    def make_sandbox(self) -> str:
        return str(self.post("/api/sandboxes/", {"autoStopInterval": 0})["id"])

    def start(self, sandbox_id: str, command: str) -> str:
        """The address of the command's log."""
        session = self.post(f"/api/sandboxes/{sandbox_id}/sessions/", {})["sessionId"]
        return str(self.post(f"/api/sandboxes/{sandbox_id}/sessions/{session}/commands/", {"command": command})["logs"])

    def requests(self) -> dict[str, int]:
        """What the sandbox server was asked so far, by route."""
        seen: dict[str, int] = httpx.get(f"{self.upstream}/requests", headers=self.upstream_headers).json()
        return seen

    def plan(self, path: str, streams: int, events: int = 0, *, record: bool = False) -> Plan:
        headers = {"Authorization": f"Bearer {self.server.token}"}
        return Plan(self.server.port, path, headers, streams, 0, events, greeting=GREETING, record=record)


@contextlib.contextmanager
def hub(
    database: Template, *, polls: bool, at: tuple[str, str] | None = None, transition_ms: int = 20
) -> Iterator[Hub]:
    """`polls`: with a worker and beat. `at`: address and key of a sandbox service that runs already.

    `transition_ms`: how long the local sandbox server lets a sandbox be `creating`; 20 is its default.
    """
    if at is not None:
        env = {"DAYTONA_API_URL": f"{at[0]}/api", "DAYTONA_API_KEY": at[1]}
        with web_process(database, more_env=env) as server, _polls(server, wanted=polls) as worker:
            yield Hub(server, at[0], worker)
        return
    with tempfile.TemporaryDirectory(prefix="taskhub-bench-sandboxes-") as folder:
        options = ["--data-dir", folder, "--faults", "--port", "0", "--transition-ms", str(transition_ms)]
        command = [sys.executable, "-m", "sandboxes.local", *options]
        sandboxes = Process(command, {"LOCAL_SANDBOX_KEY": KEY, "PATH": "/usr/bin:/bin"})
        try:
            wait_until(lambda: any("ready on" in line for line in sandboxes.output), "the sandbox server", 120)
            upstream = re.search(r"http://127\.0\.0\.1:\d+", "\n".join(sandboxes.output))
            assert upstream is not None
            env = {"DAYTONA_API_KEY": KEY, "DAYTONA_API_URL": f"{upstream[0]}/api"}
            with web_process(database, more_env=env) as server, _polls(server, wanted=polls) as worker:
                yield Hub(server, upstream[0], worker)
        finally:
            sandboxes.end()


@contextlib.contextmanager
def _polls(server: Server, *, wanted: bool) -> Iterator[Process | None]:
    """The worker."""
    if not wanted:
        yield None
        return
    celery = [sys.executable, "-m", "celery", "--app", "config", "--quiet"]
    children = [
        Process([*celery, "worker", "--pool", "threads", "--concurrency", "8", "--loglevel", "WARNING"], server.env),
        Process([*celery, "beat", "--scheduler", "celery.beat:Scheduler", "--pidfile="], server.env),
    ]
    try:
        yield children[0]
    finally:
        for child in children:
            child.end()


# --- upstream requests --------------------------------------------------------------------------------
WATCH_S: Final = 60.0
VIEWERS: Final = 1000


def upstream(database: Template, _: WriterProcess) -> Sample:
    sample: Sample = {}
    for key, viewers in (("one", 1), ("many", VIEWERS)):
        with hub(database, polls=True) as running:
            sandbox_id = running.make_sandbox()
            status, sessions = (
                running.plan(f"/sse?{urlencode({'sandboxId': sandbox_id, 'eventType': kind})}", viewers)
                for kind in ("sandbox-status", "sessions")
            )
            with Fleet(status) as first, Fleet(sessions) as second:
                first.open(120)
                second.open(120)
                before = _after_a_tick(running)
                time.sleep(WATCH_S + HALF_A_TICK_S)
                after = running.requests()
            sample[f"{key}_status"] = float(_between(before, after, STATUS_PATH))
            sample[f"{key}_sessions"] = float(_between(before, after, SESSIONS_PATH))
    return sample


def _after_a_tick(running: Hub) -> dict[str, int]:
    """The counts right after a look at the sessions, so that the last tick of the time does not fall on its edge."""
    before = running.requests()
    wait_until(lambda: _between(before, running.requests(), SESSIONS_PATH) > 0, "a tick of the sessions", 30)
    return running.requests()


def _between(before: dict[str, int], after: dict[str, int], part: str) -> int:
    """How many GETs of addresses with `part` came in the meantime."""
    return sum(
        count - before.get(route, 0)
        for route, count in after.items()
        if route.startswith("GET") and part in route and "socket.io" not in route
    )


# --- ticks ----------------------------------------------------------------------------------------------
WATCHED: Final = 1000
TICKS: Final = 12


def ticks(database: Template, _: WriterProcess) -> Sample:
    """Each of the sandboxes with a viewer of its own."""
    with hub(database, polls=True) as running:
        with ThreadPoolExecutor(4) as threads:
            ids = list(threads.map(lambda _: running.make_sandbox(), range(WATCHED)))
        with contextlib.ExitStack() as streams:
            client = streams.enter_context(httpx.Client(limits=httpx.Limits(max_connections=None), timeout=60))
            headers = {"Authorization": f"Bearer {running.server.token}"}
            for sandbox_id in ids:
                address = f"http://{HOST}:{running.server.port}/sse?sandboxId={sandbox_id}"
                streams.enter_context(client.stream("GET", address, headers=headers))
            took, pages = _watch_ticks(Path(running.server.env["TASKHUB_DATA_DIR"]) / "taskhub.sqlite3", running)
    return {"p50": statistics.median(took), "worst": max(took), "pages": max(pages)}


def _watch_ticks(database: Path, running: Hub) -> tuple[list[float], list[float]]:
    """Per tick over all sandboxes: seconds, and pages of the list that were asked for."""
    took: list[float] = []
    pages: list[float] = []
    last = -1
    asked = running.requests().get(PAGES_ROUTE, 0)
    until = time.monotonic() + 180
    while len(took) < TICKS:
        if time.monotonic() > until:
            raise AssertionError(f"only {len(took)} ticks in 180 s")
        time.sleep(0.2)
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as reader:
            row = reader.execute("SELECT ticks, took_ms, watched FROM sandboxes_poll WHERE name = 'status'").fetchone()
        if row is None or row[0] == last:
            continue
        now = running.requests().get(PAGES_ROUTE, 0)
        if row[2] == WATCHED and last >= 0:
            took.append(row[1] / 1000)
            pages.append(float(now - asked))
        last, asked = row[0], now
    return took, pages


# --- logs -----------------------------------------------------------------------------------------------
LINES: Final = 500_000
SHARED_LINES: Final = 20_000
LOG_VIEWERS: Final = 200


def logs(database: Template, _: WriterProcess) -> Sample:
    with hub(database, polls=False) as running:
        sandbox_id = running.make_sandbox()
        with Fleet(running.plan(running.start(sandbox_id, f"seq {LINES}"), 1, LINES), processes=1) as fleet:
            before, began = running.server.cpu_s(), time.time()
            fleet.open(30)
            elapsed = fleet.wait(120) - began
            cpu = running.server.cpu_s() - before
            fleet.collect()
        sample = {"lines_per_s": LINES / elapsed, "line_us": cpu / LINES * 1e6}
        asked = running.requests()
        path = running.start(sandbox_id, f"for n in $(seq {SHARED_LINES}); do echo line $n of a log; done; sleep 5")
        with Fleet(running.plan(path, LOG_VIEWERS, SHARED_LINES)) as fleet:
            before = running.server.cpu_s()
            fleet.open(60)
            fleet.wait(120)
            sample["shared_us"] = (running.server.cpu_s() - before) / SHARED_LINES / LOG_VIEWERS * 1e6
            seen = running.requests()
            time.sleep(2)
            fleet.collect()
        sample["connections"] = float(_between(asked, seen, "/logs"))
    return sample


# --- delay ----------------------------------------------------------------------------------------------
STAMPS: Final = 500
_STAMP: Final = re.compile(rb"(\d{10}\.\d{9})")


def delay(database: Template, _: WriterProcess) -> Sample:
    with hub(database, polls=False) as running:
        sandbox_id = running.make_sandbox()
        address = running.start(sandbox_id, f"sleep 3; for n in $(seq {STAMPS}); do date +%s.%N; sleep 0.02; done")
        return asyncio.run(_delays(running, address))


async def _delays(running: Hub, address: str) -> Sample:
    """Each line as the hub's viewer and as a follower right at the sandbox server get it."""
    asked = dict(httpx.QueryParams(address.partition("?")[2]))
    path = f"/process/session/{asked['sessionId']}/command/{asked['commandId']}/logs?follow=true"
    async with aiohttp.ClientSession() as session:
        through_hub, direct = await asyncio.gather(
            _stamps_of_stream(session, f"http://{HOST}:{running.server.port}{address}", running.server.token),
            _stamps_of_websocket(session, f"{running.upstream}/toolbox/{asked['sandboxId']}{path}"),
        )
    if not len(through_hub) == len(direct) == STAMPS:
        raise AssertionError(f"{len(through_hub)} and {len(direct)} lines came instead of {STAMPS}")
    whole = sorted((came - stamp) * 1e3 for stamp, came in through_hub.items())
    beyond = sorted((came - direct[stamp]) * 1e3 for stamp, came in through_hub.items())
    return {
        "p50": whole[STAMPS // 2],
        "p99": whole[STAMPS * 99 // 100],
        "beyond_p50": beyond[STAMPS // 2],
        "beyond_p99": beyond[STAMPS * 99 // 100],
    }


async def _stamps_of_stream(session: aiohttp.ClientSession, url: str, token: str) -> dict[float, float]:
    """When (`time.time()`) each line came, by the time that the line itself tells."""
    came: dict[float, float] = {}
    async with session.get(url, headers={"Authorization": f"Bearer {token}"}) as answer:
        async for line in answer.content:
            if line.startswith(b'data: {"stream"') and (found := _STAMP.search(line)):
                came[float(found[1])] = time.time()
            if line.startswith(b"event: log-complete"):
                return came
    return came


async def _stamps_of_websocket(session: aiohttp.ClientSession, url: str) -> dict[float, float]:
    came: dict[float, float] = {}
    async with session.ws_connect(url.replace("http", "ws", 1), headers=Hub.upstream_headers) as websocket:
        async for message in websocket:
            now = time.time()
            came |= {float(found): now for found in _STAMP.findall(message.data)}
    return came


SCENARIOS: Final = [
    Scenario(
        "sandbox-upstream",
        f"One sandbox watched for {WATCH_S:.0f} s, its status and its sessions, by 1 viewer of each and by {VIEWERS} "
        "of each, with a worker and beat. Counted are the requests that reach the sandbox server once all are there.",
        upstream,
        [
            ("one_status", "status requests, 1 viewer", "", 12, None),
            ("many_status", f"status requests, {VIEWERS} viewers", "", 12, None),
            ("one_sessions", "session requests, 1 viewer", "", 6, None),
            ("many_sessions", f"session requests, {VIEWERS} viewers", "", 6, None),
        ],
    ),
    Scenario(
        "sandbox-ticks",
        f"{WATCHED} sandboxes, each watched by a viewer of its own; one worker; {TICKS} ticks of the status poll, by "
        "the time that the worker notes for each, from the look at what is wanted to the last publication. Wall time: "
        "a busy machine shows.",
        ticks,
        [
            ("p50", "time of a tick, median", "s", None, None),
            ("worst", f"time of a tick, the longest of {TICKS}", "s", 5, None),
            ("pages", "list requests of a tick, at most", "", 10, None),
        ],
    ),
    Scenario(
        "sandbox-logs",
        f"A command that prints {LINES} short lines, followed by one viewer; then {SHARED_LINES} lines for "
        f"{LOG_VIEWERS} viewers at once. Every viewer must get every line once and in order. The sandbox server, the "
        "command and the readers run on the same two cores.",
        logs,
        [
            ("lines_per_s", "lines per second, one viewer", "1/s", None, 50_000),
            ("line_us", "CPU per line, one viewer", "µs", None, None),
            ("shared_us", f"CPU per line and viewer, {LOG_VIEWERS} viewers", "µs", None, None),
            ("connections", f"log connections to the sandbox server, {LOG_VIEWERS} viewers", "", 1, None),
        ],
    ),
    Scenario(
        "sandbox-delay",
        f"{STAMPS} lines, 50 a second, each the time at which it was written. From there to the viewer, and what of it "
        "is beyond a websocket opened right at the sandbox server, which has Daytona's own buffering.",
        delay,
        [
            ("p50", "p50, from the line's own time", "ms", None, None),
            ("p99", "p99, from the line's own time", "ms", None, None),
            ("beyond_p50", "p50, beyond Daytona's own", "ms", None, None),
            ("beyond_p99", "p99, beyond Daytona's own", "ms", 100, None),
        ],
    ),
]
