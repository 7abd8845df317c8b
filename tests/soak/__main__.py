"""`python -m tests.soak [--minutes 10] [--limit-cpus N]`: a whole installation under load, with parts killed at random.

500 streams watch while 20 executions run at a time. It begins on the previous release, which is upgraded under way. For
70 % of the time web processes, workers, beat, Redis and PostgreSQL are killed at random and started again; in between
the disk of the data folder is full for 30 s, the wall clock of the hub's processes is set an hour back and forward, a
worker is stopped for 60 s, and rows stay locked for 20 s. Then all is left alone, so that memory can be seen to stay.
It ends with 0 if every stream saw every event once and in order, every execution that was accepted ended well with its
whole log and ran once, no memory grew, and no process was left behind.

With a limit of the sandbox service it begins with this release.

As root it runs in a mount namespace of its own, for the disk that is filled; another account cannot fill one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from taskhub.lib.cancellation import cancel_all
from tests.clocks import COMPILER, WallClock
from tests.deploy.previous_release import PreviousRelease
from tests.live.live_client import mentioning
from tests.postgres import find_binaries, make_database, running_postgres
from tests.servers.watchers import Watcher, watching
from tests.soak.chaos import Chaos
from tests.soak.faults import Faults, tell
from tests.soak.load import Load
from tests.soak.memory import Memory
from tests.soak.room import Room
from tests.soak.whole import Whole

STREAMS = 500
AT_A_TIME = 20
FILES_NEEDED = 8192
CHAOS_SHARE = 0.7
OLD_SHARE = 0.07
"""For so long the previous release runs."""
DISK_MIB = 192
_INSIDE = "TASKHUB_SOAK_INSIDE"
PARTS = [*Whole.parts, "redis", "postgres"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the order in which parts are killed")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="what is killed")
    parser.add_argument("--no-kills", action="store_true", help="only the other faults, and the upgrade")
    parser.add_argument("--no-faults", action="store_true", help="only the kills, and the upgrade")
    parser.add_argument("--no-upgrade", action="store_true", help="begin with this release")
    parser.add_argument("--streams", type=int, default=STREAMS)
    parser.add_argument("--at-a-time", type=int, default=AT_A_TIME, help="executions")
    parser.add_argument("--limit-cpus", type=int, help="how many sandboxes of one CPU the sandbox server has room for")
    options = parser.parse_args()
    binaries = find_binaries()
    if binaries is None:
        parser.error("PostgreSQL is not installed")
    enter_namespace()
    small_disk = _INSIDE in os.environ
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES_NEEDED, hard), hard))
    print(f"{options.streams} streams, {options.at_a_time} executions at a time, {options.minutes:g} minutes, ", end="")
    print(f"seed {options.seed}", flush=True)
    with running_postgres(binaries) as postgres, tempfile.TemporaryDirectory(prefix="taskhub-soak-") as name:
        folder = Path(name)
        clock = WallClock(folder) if COMPILER else None
        # The previous release fails what finds no room.
        upgrades = not options.no_upgrade and options.limit_cpus is None
        release = PreviousRelease(made(folder / "previous")) if upgrades else None
        with data_folder(folder / "hub", small=small_disk):
            env = clock.env if clock else {}
            whole = Whole(folder, make_database(postgres.url, "soak"), options.limit_cpus, release=release, env=env)
            rng = random.Random(options.seed)
            faults = Faults(whole, clock, small_disk=small_disk, rng=rng)
            if options.no_faults:
                faults.leave_out_all()
            if faults.left_out:
                print(f"left out, as this machine cannot: {', '.join(faults.left_out)}")
            try:
                whole.start_all()
                chaos = Chaos(whole, postgres, [] if options.no_kills else options.only, faults, rng)
                complaints = asyncio.run(soak(whole, chaos, options, upgrades=release is not None))
            finally:
                whole.end()
        if left := mentioning(name):
            complaints.append(f"processes were left behind: {left}")
    for complaint in complaints:
        print(f"WRONG: {complaint}")
    print("Failed." if complaints else "Nothing was lost, nothing grew, nothing was left behind.")
    return 1 if complaints else 0


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def enter_namespace() -> None:
    """As root: this program runs anew in a mount namespace of its own."""
    if _INSIDE in os.environ or os.geteuid() != 0 or shutil.which("unshare") is None:
        return
    unshare = ["unshare", "--mount", "--propagation", "private", "--"]
    os.environ[_INSIDE] = "1"
    os.execvp(unshare[0], [*unshare, sys.executable, "-m", "tests.soak", *sys.argv[1:]])


@contextmanager
def data_folder(folder: Path, *, small: bool) -> Iterator[None]:
    folder.mkdir()
    if not small:
        yield
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=700", "none", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


async def soak(whole: Whole, chaos: Chaos, options: argparse.Namespace, *, upgrades: bool) -> list[str]:
    """What went wrong."""
    seconds = 60 * options.minutes
    load, memory, room = Load(whole, options.at_a_time), Memory(whole), Room(whole)
    async with watching(whole.addresses, options.streams) as watchers:
        working = asyncio.create_task(load.run())
        until = time.monotonic() + seconds * CHAOS_SHARE
        if upgrades:
            await asyncio.sleep(seconds * OLD_SHARE)
            tell(f"upgraded after {len(load.runs)} executions")
            await asyncio.to_thread(whole.upgrade)
            tell("all parts are of this release")
        looking = asyncio.create_task(room.watch())
        await chaos.run(until - time.monotonic())
        print(f"Left alone from here on; killed so far: {chaos.summary()}", flush=True)
        await memory.watch(seconds * (1 - CHAOS_SHARE))
        load.stop()
        await working
        await cancel_all(looking)
        complaints = [*load.complaints(), *room.complaints(), *memory.complaints(), *whole.fallen(), *whole.zombies()]
        complaints += await seen_by_all(watchers, whole.last_event())
    complaints += begun_or_ended_twice(whole.database_url)
    print(f"{load.summary()}\n{room.summary()}\n{memory.summary()}", flush=True)
    return complaints


def begun_or_ended_twice(database_url: str) -> list[str]:
    """Executions that were not begun once and ended once, as the audit has it."""
    twice = """SELECT e.id, count(*) FILTER (WHERE a.action = 'execution:start') AS begun,
        count(*) FILTER (WHERE a.action = 'execution:finish') AS ended
        FROM taskhub_execution e JOIN taskhub_auditentry a ON a.execution_id = e.id
        GROUP BY e.id HAVING count(*) FILTER (WHERE a.action = 'execution:start') <> 1
        OR count(*) FILTER (WHERE a.action = 'execution:finish') <> 1"""
    with psycopg.connect(database_url) as connection:
        found = connection.execute(twice).fetchall()
    return [f"{len(found)} executions were not begun and ended once: {found[:5]}"] if found else []


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
