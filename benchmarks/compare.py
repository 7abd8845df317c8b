"""The fan-out again, through TaskHub, django-eventstream's own view and sse-starlette, in turn on each run."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from benchmarks.engine_servers import GREETING, starlette, starlette_python
from benchmarks.scenarios import (
    FANOUT_EVENTS,
    FANOUT_STREAMS,
    FigureRow,
    Sample,
    Scenario,
    bearer,
    fanout,
    measure_fanout,
    warm_up,
)
from benchmarks.servers import Template, web_process
from benchmarks.streams import Plan
from benchmarks.writers import WriterProcess, Writes, status_path


def compare(database: Template, writer: WriterProcess) -> Sample:
    samples = {
        "taskhub": fanout(database, writer),
        "eventstream": _eventstream(database, writer),
    }
    if starlette_python() is not None:
        samples["starlette"] = _starlette(database, writer)
    ours = samples["taskhub"]["delivery_us"]
    return {f"{peer}_{key}": value for peer, sample in samples.items() for key, value in sample.items()} | {
        f"{peer}_ratio": sample["delivery_us"] / ours for peer, sample in samples.items()
    }


def _eventstream(database: Template, writer: WriterProcess) -> Sample:
    asgi, settings = "benchmarks.peers.eventstream_asgi:application", "benchmarks.peers.eventstream_settings"
    with web_process(database, application=asgi, settings=settings) as server:
        task_id, head = warm_up(server, writer)
        writes = Writes(server.port, server.token, [status_path(task_id)], FANOUT_EVENTS)
        plan = Plan(
            server.port,
            "/peer/stream",
            bearer(server),
            FANOUT_STREAMS,
            head + FANOUT_EVENTS,
            FANOUT_EVENTS,
            greeting=GREETING,
        )
        return measure_fanout(server, writer, writes, plan, faults_allowed=True)


def _starlette(database: Template, writer: WriterProcess) -> Sample:
    with starlette(database, writer) as engine:
        plan = replace(engine.plan, streams=FANOUT_STREAMS, first=FANOUT_EVENTS, events=FANOUT_EVENTS)
        return measure_fanout(engine.server, writer, engine.writes(0, FANOUT_EVENTS), plan, faults_allowed=True)


def _figures(peer: str, name: str) -> list[FigureRow]:
    return [
        (f"{peer}_delivery_us", f"{name}: CPU per delivery, writes subtracted", "µs", None, None),
        (f"{peer}_total_us", f"{name}: CPU per delivery, writes included", "µs", None, None),
        (f"{peer}_ratio", f"{name}: per delivery, TaskHub = 1", "", None, None),
        (f"{peer}_wrong", f"{name}: faults seen by the streams", "", None, None),
    ]


SCENARIO: Final = Scenario(
    "compare",
    f"The fan-out of {FANOUT_STREAMS} streams and {FANOUT_EVENTS} events, on each run through all in turn. "
    "django-eventstream: its own view under Django's own handler, its `DjangoModelStorage`, the same Redis, the same "
    "REST writes. sse-starlette: one queue per client and a payload of 500 bytes; no database, no Redis, no middleware "
    "and no authentication, so it is what the library and uvicorn cost alone. A fault is an event that was missing, "
    "repeated or out of order.",
    compare,
    [
        *_figures("taskhub", "TaskHub"),
        *_figures("eventstream", "django-eventstream"),
        *_figures("starlette", "sse-starlette"),
    ],
)
