"""What is measured. A scenario is made ready once and then run several times, each time on a fresh web process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from benchmarks.results import Figure
from benchmarks.servers import Server, Template, web_process
from benchmarks.streams import Fleet, Plan
from benchmarks.writers import WriterProcess, Writes, make_task, read_version, status_path

STREAM: Final = "/api/events/stream"
SETTLE_S: Final = 0.3
"""How long an event too many is waited for."""
Sample = dict[str, float]
"""One run's values by their keys."""
FigureRow = tuple[str, str, str, float | None, float | None]
"""A figure: its key in a sample, its name, its unit, and its target (at most, at least)."""


@dataclass(frozen=True)
class Scenario:
    """`run` gives one value per figure; a key that no run has (a peer that is not there) is left out."""

    name: str
    method: str
    run: Callable[[Template, WriterProcess], Sample]
    figures: list[FigureRow]

    def figures_of(self, samples: list[Sample]) -> list[Figure]:
        return [
            Figure(name, unit, [sample[key] for sample in samples], most, least)
            for key, name, unit, most, least in self.figures
            if key in samples[0]
        ]


def bearer(server: Server) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.token}"}


def warm_up(server: Server, writer: WriterProcess) -> tuple[str, int]:
    """A task that was written to a few times, and the number of the last event."""
    task_id = make_task(server)
    writer.run(Writes(server.port, server.token, [status_path(task_id)], 20), 60)
    return task_id, 21


# --- fanout ------------------------------------------------------------------------------------------
FANOUT_STREAMS: Final = 500
FANOUT_EVENTS: Final = 200


def fanout(database: Template, writer: WriterProcess) -> Sample:
    with web_process(database) as server:
        task_id, head = warm_up(server, writer)
        writes = Writes(server.port, server.token, [status_path(task_id)], FANOUT_EVENTS)
        plan = Plan(server.port, STREAM, bearer(server), FANOUT_STREAMS, head + FANOUT_EVENTS, FANOUT_EVENTS)
        return measure_fanout(server, writer, writes, plan)


def measure_fanout(
    server: Server, writer: WriterProcess, writes: Writes, plan: Plan, *, faults_allowed: bool = False
) -> Sample:
    """CPU of the same writes without streams and with them.

    A stream comes and goes first: what a process starts with its first stream (the listener to Redis, a database
    connection that stays) then runs in both parts, and does not make the second one look cheaper.
    """
    with Fleet(replace(plan, streams=1, first=plan.first - plan.events, events=0), processes=1) as one:
        one.open(30)
    time.sleep(SETTLE_S)
    before = server.cpu_s()
    writer.run(writes, 120)
    alone = server.cpu_s() - before
    with Fleet(plan, faults_allowed=faults_allowed) as fleet:
        fleet.open(120)
        time.sleep(SETTLE_S)
        before = server.cpu_s()
        began = time.time()
        writer.run(writes, 300)
        elapsed = fleet.wait(120) - began
        together = server.cpu_s() - before
        time.sleep(SETTLE_S)
        outcome = fleet.collect()
    deliveries = plan.streams * plan.events
    return {
        "total_us": together / deliveries * 1e6,
        "delivery_us": (together - alone) / deliveries * 1e6,
        "write_ms": alone / plan.events * 1e3,
        "deliveries_per_s": deliveries / elapsed,
        "wrong": float(outcome.fault_count),
    }


# --- latency -----------------------------------------------------------------------------------------
LATENCY_EVENTS: Final = 500
LATENCY_GAP_S: Final = 0.02


def latency(database: Template, writer: WriterProcess) -> Sample:
    with web_process(database) as server:
        task_id, head = warm_up(server, writer)
        plan = Plan(server.port, STREAM, bearer(server), 500, head, LATENCY_EVENTS, record=True)
        writes = Writes(server.port, server.token, [status_path(task_id)], LATENCY_EVENTS, LATENCY_GAP_S)
        with Fleet(plan) as fleet:
            fleet.open(120)
            time.sleep(SETTLE_S)
            before, began = server.cpu_s(), time.time()
            written = writer.run(writes, 120)
            fleet.wait(60)
            busy = (server.cpu_s() - before) / (time.time() - began)
            time.sleep(SETTLE_S)
            outcome = fleet.collect()
    stamped = [datetime.fromisoformat(text).timestamp() for text in outcome.timestamps]
    from_stamp = delays(outcome.times, stamped)
    from_answer = delays(outcome.times, written.answered)
    return {
        "p50": percentile(from_stamp, 50),
        "p99": percentile(from_stamp, 99),
        "max": from_stamp[-1],
        "answer_p50": percentile(from_answer, 50),
        "answer_p99": percentile(from_answer, 99),
        "events_per_s": LATENCY_EVENTS / written.elapsed_s,
        "busy": busy * 100,
    }


def delays(receipts: Sequence[Sequence[float]], since: Sequence[float]) -> list[float]:
    """Milliseconds from each moment in `since` to each stream's receipt of that event, sorted."""
    return sorted((came - moment) * 1e3 for times in receipts for came, moment in zip(times, since, strict=True))


def percentile(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


# --- many --------------------------------------------------------------------------------------------
MANY_STREAMS: Final = 5000
MANY_EVENTS: Final = 100


def many(database: Template, writer: WriterProcess) -> Sample:
    sample: Sample = {}
    with web_process(database) as server:
        task_id, head = warm_up(server, writer)
        with Fleet(Plan(server.port, STREAM, bearer(server), 50, head, 0)) as fleet:
            fleet.open(60)
        time.sleep(SETTLE_S)
        plan = Plan(server.port, STREAM, bearer(server), MANY_STREAMS, head, MANY_EVENTS)
        with Fleet(plan) as fleet:
            memory, before = server.rss_bytes(), server.cpu_s()
            fleet.open(300)
            sample["connect_ms"] = (server.cpu_s() - before) / MANY_STREAMS * 1e3
            sample["kib"] = (server.rss_bytes() - memory) / MANY_STREAMS / 1024
            sample["threads"] = float(server.threads())
            before, began = server.cpu_s(), time.time()
            writer.run(Writes(server.port, server.token, [status_path(task_id)], MANY_EVENTS), 300)
            sample["seconds"] = fleet.wait(120) - began
            sample["delivery_us"] = (server.cpu_s() - before) / MANY_STREAMS / MANY_EVENTS * 1e6
            sample["kib_after"] = (server.rss_bytes() - memory) / MANY_STREAMS / 1024
            time.sleep(SETTLE_S)
            fleet.collect()
    with web_process(database) as server:
        _, head = warm_up(server, writer)
        with Fleet(Plan(server.port, STREAM, {}, 50, head, 0)) as fleet:
            fleet.open(60)
        time.sleep(SETTLE_S)
        with Fleet(Plan(server.port, STREAM, {}, 1000, head, 0)) as fleet:
            before = server.cpu_s()
            fleet.open(120)
            sample["anonymous_ms"] = (server.cpu_s() - before) / 1000 * 1e3
            fleet.collect()
    return sample


# --- writes ------------------------------------------------------------------------------------------
WRITERS: Final = 8
WRITES_EACH: Final = 150


def writes(database: Template, writer: WriterProcess) -> Sample:
    sample: Sample = {}
    with web_process(database) as server:
        _, head = warm_up(server, writer)
        for key, tasks in (("own", WRITERS), ("one", 1)):
            ids = [make_task(server) for _ in range(tasks)]
            head += tasks
            count = WRITERS * WRITES_EACH
            with Fleet(Plan(server.port, STREAM, bearer(server), 1, head, count), processes=1) as fleet:
                fleet.open(30)
                before = server.cpu_s()
                paths = [status_path(ids[number % tasks]) for number in range(WRITERS)]
                written = writer.run(Writes(server.port, server.token, paths, WRITES_EACH), 120)
                sample[f"{key}_ms"] = (server.cpu_s() - before) / count * 1e3
                fleet.wait(30)
                time.sleep(SETTLE_S)
                fleet.collect()
            sample[f"{key}_per_s"] = count / written.elapsed_s
            head += count
            versions = [read_version(server, task_id) for task_id in ids]
            if versions != [1 + count // tasks] * tasks:
                raise AssertionError(f"updates were lost: the tasks are at versions {versions}")
    return sample


# --- reconnect ---------------------------------------------------------------------------------------
RECONNECT_STREAMS: Final = 1000
RECONNECT_EVENTS: Final = 100


def reconnect(database: Template, writer: WriterProcess) -> Sample:
    sample: Sample = {}
    for key, followed in (("ring", True), ("table", False)):
        with web_process(database) as server:
            task_id, head = warm_up(server, writer)
            missed = Writes(server.port, server.token, [status_path(task_id)], RECONNECT_EVENTS)
            if followed:
                # A stream that stays: the process has seen the events that the others missed.
                with Fleet(Plan(server.port, STREAM, bearer(server), 1, head, RECONNECT_EVENTS), processes=1) as one:
                    one.open(30)
                    writer.run(missed, 60)
                    one.wait(30)
                    sample |= _return_all(server, head, key)
            else:
                writer.run(missed, 60)
                sample |= _return_all(server, head, key)
    return sample


def _return_all(server: Server, head: int, key: str) -> Sample:
    headers = {**bearer(server), "Last-Event-ID": f"tasks:{head}"}
    plan = Plan(server.port, STREAM, headers, RECONNECT_STREAMS, head, RECONNECT_EVENTS, window=RECONNECT_STREAMS)
    with Fleet(plan) as fleet:
        before, began = server.cpu_s(), time.time()
        fleet.open(60)
        seconds = fleet.wait(60) - began
        cpu = server.cpu_s() - before
        time.sleep(SETTLE_S)
        fleet.collect()
    return {f"{key}_s": seconds, f"{key}_ms": cpu / RECONNECT_STREAMS * 1e3}


_FIELDS: Final = "a status update over REST (`PUT /api/tasks/status/…`, new status and assignee), with a token"


def _writes_on(name: str, database: str, least: float) -> Scenario:
    return Scenario(
        name,
        f"{WRITERS} writers at once on {database}, each on its own keep-alive connection: {WRITES_EACH} times "
        f"{_FIELDS}. Each on its own task, then all on one. A stream must see every change once and in order, and the "
        "versions of the tasks must add up; an answer other than 200 ends the run. Wall time: a busy machine shows.",
        writes,
        [
            ("own_per_s", "writes per second, each on its own task", "1/s", None, least),
            ("one_per_s", "writes per second, all on one task", "1/s", None, least),
            ("own_ms", "CPU per write, each on its own task", "ms", None, None),
            ("one_ms", "CPU per write, all on one task", "ms", None, None),
        ],
    )


ON_POSTGRES: Final = _writes_on("writes-postgresql", "PostgreSQL", 400)
ON_SQLITE: Final = [
    _writes_on("writes", "SQLite", 250),
    Scenario(
        "fanout",
        f"{FANOUT_STREAMS} streams with a token, {FANOUT_EVENTS} events: each {_FIELDS}, one after another, by a "
        "separate process. The same writes are made first without streams; the difference is what delivery costs.",
        fanout,
        [
            ("total_us", "CPU per delivery, writes included", "µs", None, None),
            ("delivery_us", "CPU per delivery, writes subtracted", "µs", 20, None),
            ("write_ms", "CPU per write without streams", "ms", None, None),
            ("deliveries_per_s", "deliveries per second", "1/s", None, None),
        ],
    ),
    Scenario(
        "latency",
        f"500 streams, {LATENCY_EVENTS} events at 50/s. From the envelope's timestamp, which is taken just before the "
        "insert and the commit (so the figure holds both, and is an upper bound), to the return of each client's "
        "`recv`; also from the writer's receipt of the REST answer, which comes after the commit and may come after "
        "the event.",
        latency,
        [
            ("p50", "p50, from the envelope's timestamp", "ms", None, None),
            ("p99", "p99, from the envelope's timestamp", "ms", 50, None),
            ("max", "slowest receipt", "ms", None, None),
            ("answer_p50", "p50, from the REST answer", "ms", None, None),
            ("answer_p99", "p99, from the REST answer", "ms", None, None),
            ("events_per_s", "events per second, really", "1/s", None, None),
            ("busy", "the web process's CPU", "% of a core", None, None),
        ],
    ),
    Scenario(
        "many",
        f"{MANY_STREAMS} streams with a token on one process, then {MANY_EVENTS} events over REST, one after another. "
        "Memory is the growth of resident memory from before the first to after the last stream opened, after 50 "
        "streams that came and went; CPU to connect is that of the same span. 64 connects are under way at a time.",
        many,
        [
            ("kib", "memory per stream, all open", "KiB", 40, None),
            ("kib_after", "memory per stream, after the events", "KiB", 40, None),
            ("connect_ms", "CPU to connect, with a token", "ms", 1.5, None),
            ("anonymous_ms", "CPU to connect, anonymous (1,000 streams)", "ms", 1.5, None),
            ("threads", "threads of the process", "", None, None),
            ("delivery_us", "CPU per delivery, writes included", "µs", None, None),
            ("seconds", "all events received by all", "s", None, None),
        ],
    ),
    Scenario(
        "reconnect",
        f"{RECONNECT_STREAMS} clients with a token connect at once with `Last-Event-ID`, each {RECONNECT_EVENTS} "
        "events behind, until the last one has the last event. Once on a process that saw the events (they are in its "
        "memory), once on one that did not (they are read from the table).",
        reconnect,
        [
            ("ring_s", "all caught up, from the process's memory", "s", 10, None),
            ("table_s", "all caught up, from the table", "s", 10, None),
            ("ring_ms", "CPU per client, from memory", "ms", None, None),
            ("table_ms", "CPU per client, from the table", "ms", None, None),
        ],
    ),
]
