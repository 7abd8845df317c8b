"""Dashboard: the state of the hub now, and charts of the last hour or day.

Figures show this moment, charts a window of time. Other apps add theirs in `AppConfig.ready`, as the hub does below.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from django.http import HttpRequest
from django.urls import reverse
from django.utils.formats import date_format

from taskhub.admin.base import NOTHING
from taskhub.admin.charts import Picture
from taskhub.events import outbox
from taskhub.events.channels import TASKS
from taskhub.events.types import EVENT_TYPES
from taskhub.models import ACTIVE_STATUSES, ExecutionStatus, MetricName
from taskhub.observability import parts
from taskhub.observability.heartbeat import LATE_S, heartbeat_ages
from taskhub.selectors import dashboard as selectors
from taskhub.selectors.dashboard import OTHER, Window

SLOW_S: Final = 5.0
MINUTE_S: Final = 60
ENDED: Final = [status for status in ExecutionStatus if status not in ACTIVE_STATUSES]


@dataclass(frozen=True, slots=True)
class Figure:
    """`is_bad`: highlighted, needs an operator's attention; `is_good`: it is well. Other figures are numbers."""

    name: str
    value: str
    address: str = ""
    is_bad: bool = False
    is_good: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    head: list[str]
    rows: list[list[str]]


FIGURES: Final[list[Callable[[], list[Figure]]]] = []
PICTURES: Final[list[Callable[[Window], Picture]]] = []
TABLES: Final[list[Callable[[Window], Table]]] = []


def fill(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Called by unfold when it renders the page."""
    window = selectors.window_named(request.GET.get("last", ""))
    context["title"] = "Dashboard"
    context["window"] = window
    context["windows"] = [selectors.window_named(name) for name in ("hour", "day")]
    context["figures"] = [figure for made in FIGURES for figure in made()]
    context["pictures"] = [made(window) for made in PICTURES]
    context["tables"] = [made(window) for made in TABLES]
    return context


def labels_of(window: Window) -> list[str]:
    """The start time of each part."""
    return [date_format(window.moment(part), "H:i") for part in range(window.parts)]


def hub_figures() -> list[Figure]:
    processes = selectors.processes_living()
    clients = sum((Counter(process.report["clients"]) for process in processes), Counter[str]())
    lag_s = max((process.report["lag_s"] for process in processes), default=0.0)
    hears = parts.redis_answers() and all(process.report["redis"] for process in processes)
    active = selectors.executions_active()
    listed = reverse("admin:taskhub_execution_changelist")
    return [
        Figure("Open streams", f"{clients.total():,}", reverse("admin:taskhub_streamconnection_changelist")),
        Figure("Of these, event streams", f"{clients[TASKS]:,}", reverse("admin:taskhub_streamconnection_changelist")),
        Figure("Web processes", str(len(processes)), reverse("admin:taskhub_streamprocess_changelist")),
        Figure("Lag of the slowest stream", f"{lag_s:.1f} s", is_bad=lag_s > SLOW_S, is_good=lag_s <= SLOW_S),
        Figure("Redis", "answers" if hears else "is away", is_bad=not hears, is_good=hears),
        Figure("Events per second, now", f"{outbox.read_rate(TASKS):.2f}"),
        *(
            Figure(f"Executions {status.label.lower()}", str(active.get(status, 0)), f"{listed}?status__exact={status}")
            for status in ACTIVE_STATUSES
        ),
    ]


def heartbeat_figures() -> list[Figure]:
    ages = heartbeat_ages()
    return [_heartbeat("Beat", ages.get("beat")), _heartbeat("Workers", ages.get("worker"))]


def _heartbeat(name: str, age_s: float | None) -> Figure:
    if age_s is None:
        return Figure(name, "never seen", is_bad=True)
    is_late = age_s > LATE_S
    return Figure(name, f"silent for {age_s:,.0f} s" if is_late else "alive", is_bad=is_late, is_good=not is_late)


def streams_picture(window: Window) -> Picture:
    """Number of open streams, averaged over each part."""
    seconds = selectors.measured(window, MetricName.STREAM_SECONDS).total
    series = {"open streams": [value / window.part_s for value in seconds.get("", window.nothing)]}
    return Picture("streams", "Open streams, on average", labels_of(window), series, total=max)


def events_picture(window: Window) -> Picture:
    counted = selectors.events_by_type(window)
    series = {name: counted.get(name, window.nothing) for name in [*EVENT_TYPES, OTHER]}
    every = "minute" if window.part_s == 60 else "half hour"  # noqa: PLR2004 - seconds
    return Picture("events", f"Events by type, per {every}", labels_of(window), series)


def executions_picture(window: Window) -> Picture:
    counted = selectors.executions_by_outcome(window)
    series = {status.label: counted.get(status, window.nothing) for status in ENDED}
    return Picture("executions", "Finished executions by outcome", labels_of(window), series)


def durations_picture(window: Window) -> Picture:
    counted = selectors.executions_by_span(window)
    labels = ["< 1 s", "< 5 s", "< 30 s", "< 2 min", "< 10 min", "< 1 h", "longer"]
    series = {status.label: counted.get(status, [0.0] * len(labels)) for status in ENDED}
    title = "Execution time by outcome"
    return Picture("durations", title, labels, series, axis="They ran", is_over_time=False)


def durations_table(window: Window) -> Table:
    took = selectors.executions_took(window)
    rows = [
        [
            *(ExecutionStatus(row.status).label, str(row.count)),
            *(_seconds(span) for span in (row.mean, row.median, row.p95, row.longest)),
        ]
        for row in took
    ]
    return Table("How long executions took", ["Outcome", "Executions", "Mean", "p50", "p95", "Longest"], rows)


def _seconds(span: float | None) -> str:
    if span is None:
        return NOTHING
    if span < 2 * MINUTE_S:
        return f"{span:.1f} s"
    minutes = round(span / MINUTE_S)
    return f"{minutes} min" if minutes < 2 * MINUTE_S else f"{minutes / MINUTE_S:,.1f} h"


FIGURES.extend([heartbeat_figures, hub_figures])
PICTURES.extend([events_picture, executions_picture, durations_picture, streams_picture])
TABLES.append(durations_table)
