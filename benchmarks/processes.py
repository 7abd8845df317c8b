"""Writes through one web process and through four on one PostgreSQL, by turns with an earlier checkout.

`TASKHUB_BENCH_BEFORE=folder` names the earlier checkout, with its own `.venv`. Processes, database and writers share
the machine: where it has two cores, those limit the writes of four processes, and the CPU of a write says more.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final, Self

import psycopg

from benchmarks.scenarios import (
    SETTLE_S,
    STREAM,
    FigureRow,
    Sample,
    Scenario,
    bearer,
    delays,
    percentile,
    warm_up,
)
from benchmarks.servers import (
    BEFORE,
    WATCHING,
    Server,
    Template,
    backends,
    exact_cpu_s,
    template_before,
    web_processes,
)
from benchmarks.streams import Fleet, Plan
from benchmarks.writers import WriterProcess, Writes, make_task, read_version, status_path

WRITERS: Final = 8
WRITES_EACH: Final = 200
COUNTS: Final = {"one": 1, "four": 4}
PACED: Final = 300
GAP_S: Final = 0.02
STREAMS: Final = 20
SAMPLE_EVERY_S: Final = 0.01


def run(database: Template, writer: WriterProcess) -> Sample:
    sample: Sample = {}
    with _versions(database) as versions:
        for name, count in COUNTS.items():
            for version, each in versions.items():
                found = _measure(each, writer, count)
                sample |= {f"{version}_{name}_{key}": value for key, value in found.items()}
    return sample | _ratios(sample)


@contextlib.contextmanager
def _versions(database: Template) -> Iterator[dict[str, Template]]:
    if BEFORE not in os.environ:
        yield {"now": database}
        return
    with template_before(database.server_url) as before:
        yield {"now": database, "before": before}


def _measure(database: Template, writer: WriterProcess, count: int) -> Sample:
    with web_processes(database, count) as servers:
        first, *others = servers
        ports = tuple(server.port for server in others)
        _, head = warm_up(first, writer)
        ids = [make_task(first) for _ in range(WRITERS)]
        head += WRITERS
        paths = [status_path(task_id) for task_id in ids]
        events = WRITERS * WRITES_EACH
        writer.run(Writes(first.port, first.token, paths, 10, more_ports=ports), 60)  # each opens its connections
        head += WRITERS * 10
        plan = Plan(servers[-1].port, STREAM, bearer(first), 1, head, events)
        with Fleet(plan, processes=1) as fleet, _Watch(first) as watch:
            fleet.open(60)
            time.sleep(SETTLE_S)
            web, all_of_it = _cpu_s(servers), _cpu_s(servers) + _backends_cpu_s(first)
            written = writer.run(Writes(first.port, first.token, paths, WRITES_EACH, more_ports=ports), 300)
            fleet.wait(60)
            sample = {
                "per_s": events / written.elapsed_s,
                "web_ms": (_cpu_s(servers) - web) / events * 1e3,
                "cpu_ms": (_cpu_s(servers) + _backends_cpu_s(first) - all_of_it) / events * 1e3,
                "locked": 100 * watch.locked / max(1, watch.active),
            }
            time.sleep(SETTLE_S)
            fleet.collect()
        versions = [read_version(first, task_id) for task_id in ids]
        if versions != [1 + 10 + WRITES_EACH] * WRITERS:
            raise AssertionError(f"updates were lost: the tasks are at versions {versions}")
        return sample | {"p99_ms": _paced_p99_ms(servers, writer, paths[0], head + events)}


def _paced_p99_ms(servers: Sequence[Server], writer: WriterProcess, path: str, head: int) -> float:
    """From the envelope's timestamp, just before the commit, to the streams of the last process."""
    first, last = servers[0], servers[-1]
    plan = Plan(last.port, STREAM, bearer(first), STREAMS, head, PACED, record=True)
    with Fleet(plan, processes=1) as fleet:
        fleet.open(60)
        time.sleep(SETTLE_S)
        writer.run(Writes(first.port, first.token, [path], PACED, GAP_S), 120)
        fleet.wait(60)
        time.sleep(SETTLE_S)
        outcome = fleet.collect()
    stamped = [datetime.fromisoformat(text).timestamp() for text in outcome.timestamps]
    return percentile(delays(outcome.times, stamped), 99)


class _Watch(threading.Thread):
    """Looks at what the database's clients do: how often one is active, and how often it waits for a lock."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._url = server.env["DATABASE_URL"]
        self._ended = threading.Event()
        self.active = 0
        self.locked = 0

    def run(self) -> None:
        with psycopg.connect(self._url, autocommit=True, application_name=WATCHING) as connection:
            while not self._ended.wait(SAMPLE_EVERY_S):
                row = connection.execute(
                    "SELECT count(*), count(*) FILTER (WHERE wait_event_type = 'Lock') FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active'"
                ).fetchone()
                assert row is not None
                self.active += row[0]
                self.locked += row[1]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


def _cpu_s(servers: Sequence[Server]) -> float:
    return sum(exact_cpu_s(server.pid) for server in servers)


def _backends_cpu_s(server: Server) -> float:
    return sum(map(exact_cpu_s, backends(server)))


def _ratios(sample: Sample) -> Sample:
    now = {"now_four_by_one": sample["now_four_per_s"] / sample["now_one_per_s"]}
    if "before_four_per_s" not in sample:
        return now
    return now | {
        "four_by_before": sample["now_four_per_s"] / sample["before_four_per_s"],
        "one_by_before": sample["now_one_per_s"] / sample["before_one_per_s"],
        "p99_by_before": sample["now_one_p99_ms"] / sample["before_one_p99_ms"],
    }


def _figures() -> list[FigureRow]:
    rows: list[FigureRow] = [
        ("four_by_before", "four processes, writes a second by those before", "", None, 1.5),
        ("now_four_by_one", "four processes, writes a second by those of one", "", None, 1.0),
        ("one_by_before", "one process, writes a second by those before", "", None, 1.0),
        ("p99_by_before", "one process, p99 of an event at 50/s by that before", "", 2.0, None),
    ]
    for version, word in (("now", ""), ("before", "before: ")):
        for name in COUNTS:
            several = "one process" if name == "one" else f"{name} processes"
            key, label = f"{version}_{name}", f"{word}{several}"
            rows += [
                (f"{key}_per_s", f"{label}: writes a second", "1/s", None, None),
                (f"{key}_cpu_ms", f"{label}: CPU of a write, PostgreSQL's included", "ms", None, None),
                (f"{key}_web_ms", f"{label}: CPU of a write, the web processes'", "ms", None, None),
                (f"{key}_locked", f"{label}: active connections that wait for a lock", "%", None, None),
                (f"{key}_p99_ms", f"{label}: p99 of an event at 50/s", "ms", None, None),
            ]
    return [(*row[:3], 5.0, None) if row[0] in {"now_one_locked", "now_four_locked"} else row for row in rows]


SCENARIO: Final = Scenario(
    "processes-postgresql",
    f"{WRITERS} writers of {WRITERS} tasks, spread over one web process and over four on one PostgreSQL: "
    f"{WRITES_EACH} status updates each, as fast as they are answered; a stream of the last process must see all once "
    f"and in order. Connections that wait for a lock: of those that are active when `pg_stat_activity` is looked at, "
    f"every {SAMPLE_EVERY_S * 1e3:.0f} ms. Then {PACED} updates of one task at 50/s by the first process, seen by "
    f"{STREAMS} streams of the last one, from the envelope's timestamp, just before the commit. Writers, streams and "
    "PostgreSQL run on the same two cores. By turns with the commit before events were numbered behind the commit.",
    run,
    _figures(),
)
