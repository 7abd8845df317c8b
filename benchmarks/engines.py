"""Deliveries by TaskHub and by other servers, by turns on each run, against what the machine allows.

The floor is a program in C that does one `write()` for each delivery (`peers/floor.c`). A peer that cannot be built or
installed here is left out, and named. With `TASKHUB_BENCH_BEFORE=folder` an earlier checkout of TaskHub, with its own
`.venv`, takes part as well; `TASKHUB_BENCH_ENGINES=hub,before` leaves the others out.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Final

from benchmarks.engine_servers import PAYLOAD, Engine, django_view, hub, starts
from benchmarks.scenarios import (
    SETTLE_S,
    FigureRow,
    Sample,
    Scenario,
    delays,
    percentile,
)
from benchmarks.servers import Server, Template
from benchmarks.streams import Fleet
from benchmarks.writers import Form, WriterProcess, Writes

STREAMS: Final = (500, 5000, 10_000)
BURST_EVENTS: Final = {500: 200, 5000: 100, 10_000: 50}
SINGLE_EVENTS: Final = 20
SINGLE_GAP_S: Final = 0.5
PACED_EVENTS: Final = 250
PACED_GAP_S: Final = 0.02
LISTED: Final = 100
LISTED_STREAMS: Final = 5000
CONNECTS: Final = 1000


def engines(database: Template, writer: WriterProcess) -> Sample:
    sample: Sample = {}
    for name, start in starts().items():
        for streams in STREAMS:
            with start(database, writer) as engine:
                found = _deliver(engine, writer, streams)
            sample |= {f"{name}_{streams}_{key}": value for key, value in found.items()}
        with start(database, writer) as engine:
            sample[f"{name}_paced_us"] = _paced(engine, writer)
        with start(database, writer) as engine:
            sample[f"{name}_listed_us"] = _listed(engine, writer)
    for name, start in {"hub": hub, "django": django_view}.items():
        with start(database, writer) as engine:
            sample[f"{name}_anonymous_ms"] = _connect(engine)
    return sample | _ratios(sample)


def _deliver(engine: Engine, writer: WriterProcess, streams: int) -> Sample:
    """A burst, and then single events half a second apart. The same writes come first without a stream."""
    server, events = engine.server, BURST_EVENTS[streams]
    head = engine.plan.first
    with Fleet(replace(engine.plan, streams=50, events=0), processes=1) as few:
        few.open(60)
    time.sleep(SETTLE_S)
    alone = _cpu_of(engine, writer, engine.writes(head, events))
    head += events
    sample: Sample = {}
    memory, before = server.rss_bytes(), server.cpu_s()
    plan = replace(engine.plan, streams=streams, first=head, events=events + SINGLE_EVENTS, record=True)
    with Fleet(plan, faults_allowed=True) as fleet:
        fleet.open(300)
        time.sleep(SETTLE_S)
        sample["connect_ms"] = (server.cpu_s() - before) / streams * 1e3
        sample["kib"] = (server.rss_bytes() - memory) / streams / 1024
        before = server.cpu_s()
        writer.run(engine.writes(head, events), 600)
        together = _settled_cpu(server) - before
        single = writer.run(engine.writes(head + events, SINGLE_EVENTS, SINGLE_GAP_S), 120)
        fleet.wait(120)
        time.sleep(SETTLE_S)
        outcome = fleet.collect()
    times = [received[-SINGLE_EVENTS:] for received in outcome.times]
    waited = delays(times, single.sent)
    sample["us"] = (together - alone) / streams / events * 1e6
    sample["p99_ms"] = percentile(waited, 99)
    sample["wrong"] = float(outcome.fault_count)
    return sample


def _paced(engine: Engine, writer: WriterProcess) -> float:
    """CPU per delivery (µs) to 500 streams at 50 events a second."""
    head = engine.plan.first
    alone = _cpu_of(engine, writer, engine.writes(head, PACED_EVENTS, PACED_GAP_S))
    head += PACED_EVENTS
    with Fleet(replace(engine.plan, streams=500, first=head, events=PACED_EVENTS)) as fleet:
        fleet.open(120)
        time.sleep(SETTLE_S)
        together = _cpu_of(engine, writer, engine.writes(head, PACED_EVENTS, PACED_GAP_S))
        fleet.wait(60)
    return (together - alone) / 500 / PACED_EVENTS * 1e6


def _listed(engine: Engine, writer: WriterProcess) -> float:
    """CPU per delivery (µs) of 100 events that come at once: from TaskHub of a list of tasks in one request."""
    head, server = engine.plan.first, engine.server
    if engine.form is None:
        listed = json.dumps([{"title": f"Task {number} of a list", "description": PAYLOAD} for number in range(LISTED)])
        writes = Writes(server.port, server.token, ["/api/tasks/"], 1, form=Form("POST", listed))
    else:
        writes = engine.writes(head, LISTED)
    alone = _cpu_of(engine, writer, writes)
    head += LISTED
    if engine.form is not None:
        writes = engine.writes(head, LISTED)
    with Fleet(replace(engine.plan, streams=LISTED_STREAMS, first=head, events=LISTED)) as fleet:
        fleet.open(300)
        time.sleep(SETTLE_S)
        before = server.cpu_s()
        writer.run(writes, 120)
        fleet.wait(120)
        together = _settled_cpu(server) - before
    return (together - alone) / LISTED_STREAMS / LISTED * 1e6


def _connect(engine: Engine) -> float:
    """CPU (ms) of a connection and its first answer, without a token."""
    plan = replace(engine.plan, headers={}, events=0)
    with Fleet(replace(plan, streams=50)) as few:
        few.open(60)
    with Fleet(replace(plan, streams=CONNECTS)) as fleet:
        before = engine.server.cpu_s()
        fleet.open(120)
        return (_settled_cpu(engine.server) - before) / CONNECTS * 1e3


def _cpu_of(engine: Engine, writer: WriterProcess, writes: Writes) -> float:
    before = engine.server.cpu_s()
    writer.run(writes, 300)
    return _settled_cpu(engine.server) - before


def _settled_cpu(server: Server) -> float:
    """The CPU time of the server once it has nothing to do any more."""
    used, idle_since = server.cpu_s(), time.monotonic()
    while time.monotonic() - idle_since < SETTLE_S:
        time.sleep(0.05)
        if (now := server.cpu_s()) - used > 0.015:
            used, idle_since = now, time.monotonic()
    return used


# --- The figures -------------------------------------------------------------------------------------
_NAMES: Final = {
    "hub": "TaskHub",
    "before": "TaskHub before",
    "floor": "C program",
    "starlette": "sse-starlette",
    "node": "Node",
    "centrifugo": "Centrifugo",
    "mercure": "Mercure",
}
_AGAINST_FLOOR: Final = {500: 2.0, 5000: 1.5, 10_000: 1.4}
_AGAINST_GO: Final = {500: 1.0, 5000: 0.7, 10_000: 0.7}


def _ratios(sample: Sample) -> Sample:
    ratios: Sample = {}
    names = [name for name in _NAMES if f"{name}_paced_us" in sample]
    for name in names:
        for streams in STREAMS:
            ratios[f"{name}_{streams}_ratio"] = sample[f"{name}_{streams}_us"] / sample[f"floor_{streams}_us"]
        ratios[f"{name}_listed_ratio"] = sample[f"{name}_listed_us"] / sample["floor_5000_us"]
        ratios[f"{name}_p99_ratio"] = sample[f"{name}_10000_p99_ms"] / sample["floor_10000_p99_ms"]
        ratios[f"{name}_growth"] = sample[f"{name}_10000_us"] / sample[f"{name}_500_us"]
    for kind in (*map(str, STREAMS), "paced"):
        peers = [sample[f"{name}_{kind}_us"] for name in ("centrifugo", "mercure") if name in names]
        if peers:
            ratios[f"go_{kind}_ratio"] = sample[f"hub_{kind}_us"] / min(peers)
    ratios["anonymous_ratio"] = sample["hub_anonymous_ms"] / sample["django_anonymous_ms"]
    ratios["token_ratio"] = sample["hub_500_connect_ms"] / sample["hub_anonymous_ms"]
    return ratios


def _figures() -> list[FigureRow]:
    rows: list[FigureRow] = []
    for streams in STREAMS:
        rows += [
            (f"{name}_{streams}_us", f"{_NAMES[name]}: CPU per delivery, {streams:,} streams", "µs", None, None)
            for name in _NAMES
        ]
        most = _AGAINST_FLOOR[streams]
        rows.append((f"hub_{streams}_ratio", f"TaskHub, C program = 1, {streams:,} streams", "", most, None))
        rows.append((f"before_{streams}_ratio", f"TaskHub before, C program = 1, {streams:,} streams", "", None, None))
        most = _AGAINST_GO[streams]
        rows.append((f"go_{streams}_ratio", f"TaskHub, the better Go server = 1, {streams:,} streams", "", most, None))
    rows += [(f"{name}_paced_us", f"{_NAMES[name]}: CPU per delivery, 50/s", "µs", None, None) for name in _NAMES]
    rows.append(("go_paced_ratio", "TaskHub, the better Go server = 1, 50/s", "", 0.6, None))
    for name in _NAMES:
        most = 0.3 if name == "hub" else None
        rows.append((f"{name}_listed_ratio", f"{_NAMES[name]}: 100 at once, C program = 1", "", most, None))
    for name in _NAMES:
        most = 2.0 if name == "hub" else None
        rows.append((f"{name}_p99_ratio", f"{_NAMES[name]}: p99 of an event to 10,000, C program = 1", "", most, None))
    rows += [(f"{name}_growth", f"{_NAMES[name]}: 10,000 streams, 500 = 1", "", None, None) for name in _NAMES]
    for name in _NAMES:
        most = 14.0 if name == "hub" else None
        rows.append((f"{name}_10000_kib", f"{_NAMES[name]}: memory a stream", "KiB", most, None))
    rows += [(f"{name}_500_connect_ms", f"{_NAMES[name]}: CPU to connect", "ms", None, None) for name in _NAMES]
    rows += [
        ("hub_anonymous_ms", "TaskHub: CPU to connect, anonymous", "ms", None, None),
        ("django_anonymous_ms", "an async Django view: CPU to connect and be answered", "ms", None, None),
        ("anonymous_ratio", "TaskHub anonymous, the view = 1", "", 1.0, None),
        ("token_ratio", "TaskHub with a token, anonymous = 1", "", 1.2, None),
    ]
    rows += [
        (f"{name}_{streams}_wrong", f"{_NAMES[name]}: faults seen by {streams:,} streams", "", None, None)
        for name in _NAMES
        for streams in STREAMS
    ]
    return rows


SCENARIO: Final = Scenario(
    "engines",
    "Each server in turn on each run, in a process of its own. A burst: 200, 100 and 50 events, as fast as one writer "
    "gets answers, to 500, 5,000 and 10,000 streams; CPU per delivery is that with streams less that of the same "
    "writes without. 100 at once: a list of tasks in one request to 5,000 streams; the others get 100 requests, and 1 "
    "is what the C program's burst costs there. p99 is from the moment at which an event is sent to the server, alone, "
    "to each stream's receipt. TaskHub's streams have a token, its events are stored, numbered and told over Redis; "
    "the others keep nothing and ask nobody. Readers and writer share the machine with the server.",
    engines,
    _figures(),
)
