"""`python -m tests.agents [sqlite|postgresql …]`: 50 agents work through 500 tasks, and each of them is killed.

Two web processes, a worker and beat serve the agents, each a process of its own (`mortal.py`) that is killed at random
at least once and comes back at once, or long after its lease. Some are stopped by SIGSTOP for two leases; a web process
is killed as well. It ends with 0 if every task was done exactly once, if what a killed agent held was free again within
its lease and 5 s, and if those that were stopped were refused when they went on. SEED repeats the order of a run.
The times hold on a machine that has little else to do.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.agents.killed import AGENTS, TASKS, Day, Mortal, Witness, complaints, summary
from tests.agents.mortal import FORKS, Life
from tests.postgres import find_binaries, make_database, running_postgres
from tests.servers.hubs import Installation

ACCOUNTS: Final = ("one", "two", "three", "four")
"""Beside the operator's: ten agents share an account."""
CELERY: Final = ("-m", "celery", "--app", "config", "--quiet")


@contextmanager
def served(folder: Path, url: str | None) -> Iterator[Installation]:
    installation = Installation(folder, url)
    # An agent that is killed may lose the same task again and again; here no person releases it.
    installation.env["TASKHUB_ATTEMPTS"] = "1000"
    try:
        installation.make_accounts(*ACCOUNTS)
        for web in ("one", "two"):
            installation.start_web(web)
        installation.start("worker", *CELERY, "worker", "--pool", "threads", "--concurrency", "8")
        installation.start("beat", *CELERY, "beat", "--pidfile=")
        yield installation
    finally:
        installation.end()


def agents_of(installation: Installation, folder: Path) -> list[Mortal]:
    tokens = {"operator": installation.token, **{name: installation.accounts[name] for name in ACCOUNTS}}
    addresses = [installation.address(web) for web in ("one", "two")]
    made = []
    for n in range(AGENTS):
        account, name = list(tokens)[n % len(tokens)], f"agent {n}"
        order = tuple(addresses if n % 2 else reversed(addresses))
        life = Life(name, tokens[account], order, folder / f"{n}.txt", over_rest=n // len(tokens) % 5 == 0)
        made.append(Mortal(life, f"{account}/{name}"))
    return made


def play(database: str, seed: int) -> list[str]:
    with (
        tempfile.TemporaryDirectory(prefix="taskhub-killed-", ignore_cleanup_errors=True) as name,
        ExitStack() as stack,
    ):
        folder = Path(name)
        url = None
        if database == "postgresql":
            binaries = find_binaries()
            assert binaries is not None, "PostgreSQL is not installed"
            url = make_database(stack.enter_context(running_postgres(binaries)).url, "agents")
        (folder / "hub").mkdir()
        (folder / "agents").mkdir()
        installation = stack.enter_context(served(folder / "hub", url))
        with installation.client("one", trust_env=False) as operator:
            for n in range(0, TASKS, 100):
                tasks = [{"title": f"{n + m}"} for m in range(100)]
                operator.post("/api/tasks/", json=tasks).raise_for_status()
        day = Day(installation, Witness(installation), agents_of(installation, folder / "agents"), random.Random(seed))
        began = time.monotonic()
        try:
            day.run()
        finally:
            day.end()
        print(f"{database}, seed {seed}: {summary(day, time.monotonic() - began)}", flush=True)
        return complaints(day)


def main() -> int:
    seed = int(os.environ.get("SEED") or time.time())
    FORKS.set_forkserver_preload(["tests.agents.mortal"])
    found = [f"{each}: {what}" for each in sys.argv[1:] or ["sqlite", "postgresql"] for what in play(each, seed)]
    for complaint in found:
        print(f"WRONG: {complaint}")
    print("Failed." if found else "Every task was done exactly once; each agent was killed.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
