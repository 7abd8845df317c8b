"""`python -m tests.soak.passes [--minutes 10]`: the numbers of events, while everything that gives them fails.

Eight processes append events, one reads them as a web process does. The writers kill and stop themselves at each step
of a pass; a transaction stays open for a minute; backends are terminated; PostgreSQL crashes and recovers, and its
synchronous standby is promoted. It ends with 0 if the reader got every event once, in order and without a gap, as it is
in the table; every commit that was acknowledged is among them; and who saw or waited for a change has the higher
number.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from config.launcher import redis_server
from taskhub.lib.cancellation import cancel_all
from tests.postgres import find_binaries
from tests.processes import ROOT, Process
from tests.soak.cluster import Cluster

WRITERS = 8
RISK = 0.002
STOPPED_S = (1.0, 8.0)
FAULT_EVERY_S = (8.0, 20.0)
OPEN_S = 60.0
SETTLE_S = 90.0


class Run:
    def __init__(self, cluster: Cluster, data: Path, rng: random.Random) -> None:
        self.cluster = cluster
        self.rng = rng
        self.faults: Counter[str] = Counter()
        self.url = f"postgresql://taskhub@127.0.0.1:{cluster.relay.port}/postgres"
        unset = ("DJANGO_", "TASKHUB_", "DATABASE_", "REDIS_")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(unset)} | {
            "DJANGO_SETTINGS_MODULE": "config.settings.local",
            "SECRET_KEY": "only-for-the-soak",
            "TASKHUB_DATA_DIR": str(data),
            "TASKHUB_ENV_FILE": "",
            "TASKHUB_DATABASE_IDLE_TIMEOUT_S": "10",
            "DATABASE_URL": self.url,
            "REDIS_URL": f"unix://{data}/redis.sock",
            "PYTHONUNBUFFERED": "1",
        }
        redis = redis_server.command_line(redis_server.find_binary(), data / "redis.sock")
        self.redis = Process(redis, {})
        self.processes: dict[str, Process] = {}
        self.ended: list[Process] = []
        self.chains: list[str] = []

    def command(self, *arguments: str) -> None:
        process = Process([sys.executable, "manage.py", *arguments], self.env)
        code = process.wait(600)
        process.end()
        assert code == 0, process.output

    def start(self, name: str) -> None:
        if name in self.processes:
            self.ended.append(self.processes[name])
        module = ["tests.soak.pass_reader"]
        if name != "reader":
            module = ["tests.soak.pass_writer", name, ",".join(self.chains), str(RISK)]
        self.processes[name] = Process([sys.executable, "-m", *module], self.env)

    async def keep_alive(self) -> None:
        """Start again who was killed, and have go on who was stopped, some seconds later."""
        resume_at: dict[int, float] = {}
        while True:
            await asyncio.sleep(0.2)
            for name, process in list(self.processes.items()):
                if process.popen.poll() is not None:
                    self.faults[f"{name.rstrip('0123456789')} ended"] += 1
                    await asyncio.to_thread(process.end)
                    self.start(name)
                elif _state(process.pid) == "T":
                    at = resume_at.setdefault(process.pid, time.monotonic() + self.rng.uniform(*STOPPED_S))
                    if time.monotonic() > at:
                        del resume_at[process.pid]
                        process.signal(signal.SIGCONT)

    async def trouble(self, until: float) -> None:
        faults = [self._terminate, self._crash, self._promote, self._leave_open, self._terminate]
        while time.monotonic() < until:
            for fault in self.rng.sample(faults, len(faults)):
                await asyncio.sleep(self.rng.uniform(*FAULT_EVERY_S))
                if time.monotonic() > until:
                    return
                name = fault.__name__.strip("_")
                print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
                await fault()
                self.faults[name] += 1

    async def _terminate(self) -> None:
        """Cut connections wherever they are, again and again for a while."""
        until = time.monotonic() + 5
        while time.monotonic() < until:
            await asyncio.to_thread(
                self.cluster.execute,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                "AND backend_type = 'client backend' AND random() < 0.2",
            )
            await asyncio.sleep(0.2)

    async def _crash(self) -> None:
        await asyncio.to_thread(self.cluster.restart)

    async def _promote(self) -> None:
        await asyncio.to_thread(self.cluster.promote)

    async def _leave_open(self) -> None:
        async def forget() -> None:
            async with await psycopg.AsyncConnection.connect(self.cluster.primary.url) as connection:
                await connection.execute("SELECT pg_current_xact_id(), count(*) FROM taskhub_task")
                await asyncio.sleep(OPEN_S)

        self._forgotten = asyncio.create_task(forget())
        self._forgotten.add_done_callback(lambda task: task.cancelled() or task.exception())

    def said(self, name: str) -> list[str]:
        """The lines of all processes of that kind."""
        known = [*self.ended, *self.processes.values()]
        return [line for process in known if name in " ".join(process.popen.args) for line in process.output]


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


Told = dict[int, dict[str, Any]]


def check(run: Run) -> list[str]:
    """What is wrong."""
    rows = run.cluster.execute("SELECT eid, data FROM django_eventstream_event WHERE channel = 'tasks' ORDER BY eid")
    told: Told = {int(str(eid)): json.loads(str(data)) for eid, data in rows}
    read = [line.split(" ", 3)[1:] for line in run.said("pass_reader") if line.startswith("read ")]
    done = {(line.split()[1], int(line.split()[2])) for line in run.said("pass_writer") if line.startswith("done ")}
    steps = Counter(line for line in run.said("pass_writer") if line.startswith("step "))
    print(
        f"{len(told)} events, {len(done)} acknowledged; faults {dict(run.faults)}; steps {dict(sorted(steps.items()))}"
    )
    if delays := sorted(float(delay) for _, delay, _ in read):
        print(f"from the event to the reader: median {statistics.median(delays):.3f} s, longest {delays[-1]:.1f} s")
    places = {(event["chain"], event["value"]): number for number, event in told.items()}
    facts = {
        "the numbers have gaps": list(told) != list(range(1, len(told) + 1)),
        "events are still pending": run.cluster.execute("SELECT id FROM taskhub_pendingevent") != [],
        f"the reader got {len(read)} of {len(told)} events, or not in order": [int(n) for n, *_ in read] != list(told),
        "the reader got other events": any(json.loads(data) != told.get(int(number)) for number, _, data in read),
        "an event is there twice": len(places) != len(told),
        "acknowledged events are lost": not done <= places.keys(),
        "nothing was written, or no process was hurt": not done or not steps,
    }
    return [words for words, is_so in facts.items() if is_so] + list(_out_of_order(told, places))


def _out_of_order(told: Told, places: dict[tuple[str, int], int]) -> Iterator[str]:
    for number, event in told.items():
        before = (event["chain"], event["value"] - 1)
        if places.get(before, 0) >= number:
            yield f"{number} waited for an event that comes later"
        if places.get((event["saw"][0], event["saw"][1]), 0) >= number:
            yield f"{number} saw an event that comes later"


async def soak(run: Run, minutes: float) -> list[str]:
    await run.cluster.relay.start()
    await asyncio.to_thread(run.cluster.start)
    await asyncio.to_thread(run.command, "migrate", "-v0")
    await asyncio.to_thread(
        run.command, "shell", "-v0", "-c", f"for n in range({WRITERS}): Task.objects.create(title='chain', version=0)"
    )
    run.chains = [str(pk) for (pk,) in run.cluster.execute("SELECT id FROM taskhub_task")]
    run.start("reader")
    for n in range(WRITERS):
        run.start(f"writer{n}")
    alive = asyncio.create_task(run.keep_alive())
    await run.trouble(time.monotonic() + minutes * 60)
    await cancel_all(alive)
    for name, process in run.processes.items():
        if name != "reader":
            process.signal(signal.SIGCONT)
            await asyncio.to_thread(process.end)
    until = time.monotonic() + SETTLE_S
    head = "SELECT coalesce(max(eid), 0), (SELECT count(*) FROM taskhub_pendingevent) FROM django_eventstream_event"
    while time.monotonic() < until:
        last, pending = run.cluster.execute(head)[0]
        if not pending and any(line.startswith(f"read {last} ") for line in run.processes["reader"].output[-50:]):
            break
        await asyncio.sleep(0.5)
    await run.cluster.relay.close()
    return check(run)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.passes", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    binaries = find_binaries()
    if binaries is None:
        print("PostgreSQL is not installed")
        return 2
    os.chdir(ROOT)
    # Not below a folder that only this account may enter: PostgreSQL runs as another one.
    with tempfile.TemporaryDirectory(prefix="taskhub-passes-", dir="/tmp", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        (Path(name) / "data").mkdir()
        run = Run(Cluster(binaries, Path(name)), Path(name) / "data", random.Random(given.seed))
        print(f"seed {given.seed}", flush=True)
        try:
            wrong = asyncio.run(soak(run, given.minutes))
        finally:
            for process in run.processes.values():
                process.signal(signal.SIGCONT)
                process.end()
            run.redis.end()
            run.cluster.end()
    print("\n".join(wrong[:20]) or "no event was lost, doubled or out of order")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
