"""`python -m tests.soak [--minutes 10] [--limit-cpus N]`: a whole installation under load, with parts killed at random.

500 streams watch while 20 executions run at a time. For 70 % of the time web processes, workers, beat, Redis and
PostgreSQL are killed at random and started again; then all is left alone, so that memory can be seen to stay. It ends
with 0 if every stream saw every event once and in order, every execution that was accepted ended well with its whole
log, no memory grew, and no process was left behind.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from taskhub.lib.cancellation import cancel_all
from tests.live.live_client import mentioning
from tests.postgres import Postgres, find_binaries, running_postgres
from tests.servers.watchers import Watcher, watching
from tests.soak.chaos import Chaos
from tests.soak.load import Load
from tests.soak.memory import Memory
from tests.soak.room import Room
from tests.soak.whole import Whole

STREAMS = 500
AT_A_TIME = 20
FILES_NEEDED = 8192
CHAOS_SHARE = 0.7
PARTS = [*Whole.parts, "redis", "postgres"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the order in which parts are killed")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="what is killed")
    parser.add_argument("--limit-cpus", type=int, help="how many sandboxes of one CPU the sandbox server has room for")
    options = parser.parse_args()
    binaries = find_binaries()
    if binaries is None:
        parser.error("PostgreSQL is not installed")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES_NEEDED, hard), hard))
    print(f"{STREAMS} streams, {AT_A_TIME} executions at a time, {options.minutes:g} minutes, seed {options.seed}")
    with running_postgres(binaries) as postgres, tempfile.TemporaryDirectory(prefix="taskhub-soak-") as folder:
        whole = Whole(Path(folder), new_database(postgres), options.limit_cpus)
        try:
            whole.start_all()
            chaos = Chaos(whole, postgres, options.only, random.Random(options.seed))
            complaints = asyncio.run(soak(whole, chaos, 60 * options.minutes))
        finally:
            whole.end()
        if left := mentioning(folder):
            complaints.append(f"processes were left behind: {left}")
    for complaint in complaints:
        print(f"WRONG: {complaint}")
    print("Failed." if complaints else "Nothing was lost, nothing grew, nothing was left behind.")
    return 1 if complaints else 0


def new_database(postgres: Postgres) -> str:
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE soak")
    return postgres.url.rpartition("/")[0] + "/soak"


async def soak(whole: Whole, chaos: Chaos, seconds: float) -> list[str]:
    """What went wrong."""
    load, memory, room = Load(whole, AT_A_TIME), Memory(whole), Room(whole)
    async with watching(whole.addresses, STREAMS) as watchers:
        working = asyncio.create_task(load.run())
        looking = asyncio.create_task(room.watch())
        await chaos.run(seconds * CHAOS_SHARE)
        print(f"Left alone from here on; killed so far: {chaos.summary()}", flush=True)
        await memory.watch(seconds * (1 - CHAOS_SHARE))
        load.stop()
        await working
        await cancel_all(looking)
        complaints = [*load.complaints(), *room.complaints(), *memory.complaints(), *whole.fallen(), *whole.zombies()]
        complaints += await seen_by_all(watchers, whole.last_event())
    print(f"{load.summary()}\n{room.summary()}\n{memory.summary()}", flush=True)
    return complaints


async def seen_by_all(watchers: list[Watcher], last: int) -> list[str]:
    try:
        async with asyncio.timeout(60):
            for watcher in watchers:
                await watcher.until_seen(last)
    except TimeoutError:
        pass  # who is behind is told below
    everything = list(range(1, last + 1))
    # One opened before the first event, and none may have been told that its past is gone.
    wrong = [watcher for watcher in watchers if watcher.resets or watcher.seen != everything]
    reconnects = sorted(watcher.reconnects for watcher in watchers)
    print(f"{len(watchers)} streams saw {last} events; they came back {reconnects[0]} to {reconnects[-1]} times")
    return [f"{len(wrong)} streams lost, repeated or reset: {wrong[0].seen[:20]} …"] if wrong else []


if __name__ == "__main__":
    sys.exit(main())
