"""`python -m benchmarks [name ...]`: run scenarios (all, if none is named), and write their figures down.

`--database postgresql://…` names a server on which databases may be made and dropped: writes and the pages of the admin
are then measured on it, too, and requests that wait. Everything else runs on SQLite. `TASKHUB_BENCH_DAYTONA="http://…
KEY"` names a running sandbox service: then the ends of executions are measured in front of it, too. Ctrl-C and SIGTERM
leave nothing behind.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import signal
import sys
import time
from typing import Final

from benchmarks import (
    admin_pages,
    agents,
    checkout,
    compare,
    endings,
    engines,
    executions,
    kept,
    processes,
    rest,
    results,
    sandboxes,
    start,
    waiting,
)
from benchmarks.scenarios import ON_POSTGRES, ON_SQLITE, Scenario
from benchmarks.servers import template
from benchmarks.writers import WriterProcess

FILES_NEEDED: Final = 12_000
SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        *ON_SQLITE,
        ON_POSTGRES,
        admin_pages.ON_SQLITE,
        admin_pages.ON_POSTGRES,
        kept.ON_SQLITE,
        kept.ON_POSTGRES,
        processes.SCENARIO,
        waiting.SCENARIO,
        *sandboxes.SCENARIOS,
        executions.SCENARIO,
        *endings.SCENARIOS,
        endings.REAL_SCENARIO,
        start.SCENARIO,
        checkout.SCENARIO,
        rest.SCENARIO,
        agents.SCENARIO,
        compare.SCENARIO,
        engines.SCENARIO,
    )
}
NEED_POSTGRES: Final = {
    ON_POSTGRES.name,
    admin_pages.ON_POSTGRES.name,
    kept.ON_POSTGRES.name,
    processes.SCENARIO.name,
    waiting.SCENARIO.name,
}


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    _raise_file_limit()
    names = options.names or list(SCENARIOS)
    for name in names:
        if name in NEED_POSTGRES and not options.database:
            print(f"{name}: left out, no --database")
            continue
        if name == endings.REAL_SCENARIO.name and endings.REAL not in os.environ:
            print(f"{name}: left out, no {endings.REAL}")
            continue
        url = options.database if name in NEED_POSTGRES else None
        _run(SCENARIOS[name], url, options.runs)
    print(f"The figures are in {results.REPORT.relative_to(results.FOLDER.parent)}.")
    return 0


def _run(scenario: Scenario, postgres_url: str | None, runs: int) -> None:
    samples = []
    with contextlib.closing(WriterProcess()) as writer, template(postgres_url) as database:
        for number in range(runs):
            began = time.monotonic()
            samples.append(scenario.run(database, writer))
            print(
                f"{scenario.name} {number + 1}/{runs} ({time.monotonic() - began:.0f} s): {_line(samples[-1])}",
                flush=True,
            )
    results.keep(scenario.name, scenario.method, scenario.figures_of(samples))


def _line(sample: dict[str, float]) -> str:
    return " ".join(f"{key}={value:.4g}" for key, value in sample.items())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the delivery engine.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(SCENARIOS)}; all if none is named")
    parser.add_argument("--runs", type=int, default=5, help="runs per scenario (5)")
    parser.add_argument(
        "--database",
        default=os.environ.get("TASKHUB_TEST_POSTGRES_URL"),
        help="a PostgreSQL server's URL (TASKHUB_TEST_POSTGRES_URL)",
    )
    options = parser.parse_args()
    if unknown := set(options.names) - SCENARIOS.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    return options


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES_NEEDED:
        raise SystemExit(f"The limit of open files is {hard}; {FILES_NEEDED} are needed.")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES_NEEDED), hard))


if __name__ == "__main__":
    sys.exit(main())
