"""Counts for the dashboard: events and executions of the last hour or day, in equal parts.

The database counts, in one query each: a day may have hundreds of thousands of events.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Final

from django.db.models import (
    Avg,
    Case,
    Count,
    DurationField,
    ExpressionWrapper,
    F,
    Func,
    IntegerField,
    Max,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Substr
from django.utils import timezone
from django_eventstream.models import Event

from taskhub.events.process_status import ALIVE_FOR
from taskhub.events.types import EVENT_TYPES
from taskhub.models import ACTIVE_STATUSES, Execution, MetricName, MetricSample, StreamProcess
from taskhub.selectors.events import NAME_AT

OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class Window:
    """A period up to now, in `parts` of `part_s` seconds; the last part is incomplete."""

    name: str
    title: str
    parts: int
    part_s: int
    first: int
    """The number of the first part, counted from 1970."""

    @property
    def since(self) -> datetime:
        return self.moment(0)

    @property
    def nothing(self) -> list[float]:
        return [0.0] * self.parts

    def moment(self, part: int) -> datetime:
        """When this part starts."""
        return datetime.fromtimestamp((self.first + part) * self.part_s, tz=timezone.get_current_timezone())

    def spread(self, counted: Iterable[tuple[int, str, float]]) -> dict[str, list[float]]:
        """Rows of (part since 1970, name, value) as one list per name, with a value for every part."""
        series: dict[str, list[float]] = defaultdict(lambda: self.nothing)
        for part, name, value in counted:
            if 0 <= part - self.first < self.parts:
                series[name][part - self.first] += value
        return dict(series)


def window_named(name: str) -> Window:
    """`day` in half hours; every other name is `hour` in minutes."""
    title, parts, part_s = ("Last day", 48, 1800) if name == "day" else ("Last hour", 60, 60)
    first = int(timezone.now().timestamp()) // part_s - parts + 1
    return Window("day" if name == "day" else "hour", title, parts, part_s, first)


class Part(Func):
    """The part since 1970 in which a time lies: `Part("created", 60)`. Computed by the database; SQLite's truncating
    functions are Python callbacks."""

    output_field = IntegerField()

    def __init__(self, moment: str, part_s: int) -> None:
        super().__init__(F(moment), Value(part_s))

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "floor(extract(epoch from %(expressions)s)::integer"
        return self.as_sql(compiler, connection, template=template, arg_joiner=") / ", **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "(CAST(strftime('%%%%s', %(expressions)s)"
        return self.as_sql(compiler, connection, template=template, arg_joiner=") AS INTEGER) / ", **context)


def events_by_type(window: Window) -> dict[str, list[float]]:
    """Number of events by type and part; events without our envelope are `other`."""
    named = [When(said__startswith=f'{name}"', then=Value(name)) for name in EVENT_TYPES]
    counted = (
        Event.objects.filter(created__gte=window.since)
        .annotate(part=Part("created", window.part_s))
        .annotate(said=Substr("data", NAME_AT, max(map(len, EVENT_TYPES)) + 1))
        .annotate(name=Case(*named, default=Value(OTHER)))
        .order_by()
        .values_list("part", "name")
        .annotate(count=Count("pk"))
    )
    return window.spread(counted)


def executions_by_outcome(window: Window) -> dict[str, list[float]]:
    """Number of executions that ended, by outcome and part."""
    counted = (
        Execution.objects.filter(finished_at__gte=window.since)
        .annotate(part=Part("finished_at", window.part_s))
        .order_by()
        .values_list("part", "status")
        .annotate(count=Count("pk"))
    )
    return window.spread(counted)


@dataclass(frozen=True, slots=True)
class Measured:
    """For each part of a window, by label: number of measurements, their sum, their maximum."""

    count: dict[str, list[float]]
    total: dict[str, list[float]]
    most: dict[str, list[float]]


def measured(window: Window, name: MetricName) -> Measured:
    """The measurements of all processes."""
    rows = list(
        MetricSample.objects.filter(name=name, at__gte=window.since)
        .annotate(part=Part("at", window.part_s))
        .order_by()
        .values_list("part", "label")
        .annotate(Sum("count"), Sum("total"), Max("most"))
    )
    return Measured(
        count=window.spread((part, label, count) for part, label, count, _, _ in rows),
        total=window.spread((part, label, total) for part, label, _, total, _ in rows),
        most=window.spread((part, label, most) for part, label, _, _, most in rows),
    )


@dataclass(frozen=True, slots=True)
class Took:
    """Run times of the executions of one outcome; None if none of them had started."""

    status: str
    count: int
    mean: timedelta | None
    median: timedelta | None
    p95: timedelta | None
    longest: timedelta | None


RAN: Final = ExpressionWrapper(F("finished_at") - F("started_at"), output_field=DurationField())
"""Run time of an execution; null if it never started."""
SPANS_S: Final = (1, 5, 30, 120, 600, 3600)
"""Upper bounds of the groups of `executions_by_span`."""


def executions_took(window: Window) -> list[Took]:
    """By outcome, for executions that ended in the window."""
    rows = (
        Execution.objects.filter(finished_at__gte=window.since)
        .order_by()
        .values("status")
        .annotate(count=Count("pk"), started=Count("started_at"), mean=Avg(RAN), longest=Max(RAN))
    )
    return [
        Took(
            row["status"],
            row["count"],
            row["mean"],
            _percentile(window, row["status"], row["started"], 50),
            _percentile(window, row["status"], row["started"], 95),
            row["longest"],
        )
        for row in rows
    ]


def _percentile(window: Window, status: str, count: int, percent: int) -> timedelta | None:
    """The run time that `percent` of these `count` executions do not exceed (nearest rank)."""
    if not count:
        return None
    ran = Execution.objects.filter(finished_at__gte=window.since, status=status, started_at__isnull=False)
    rank = max(1, ceil(count * percent / 100))
    times: list[timedelta] = list(ran.order_by(RAN).values_list(RAN, flat=True)[rank - 1 : rank])
    return times[0] if times else None


def executions_by_span(window: Window) -> dict[str, list[float]]:
    """For each outcome, the number of executions that ran less than each of `SPANS_S`, and longer than all."""
    spans = [When(ran__lt=timedelta(seconds=bound), then=Value(place)) for place, bound in enumerate(SPANS_S)]
    rows = (
        Execution.objects.filter(finished_at__gte=window.since, started_at__isnull=False)
        .annotate(ran=RAN)
        .annotate(span=Case(*spans, default=Value(len(SPANS_S))))
        .order_by()
        .values_list("status", "span")
        .annotate(count=Count("pk"))
    )
    counted: dict[str, list[float]] = defaultdict(lambda: [0.0] * (len(SPANS_S) + 1))
    for status, span, count in rows:
        counted[status][span] = count
    return dict(counted)


def executions_active() -> dict[str, int]:
    """Number of queued, starting and running executions."""
    rows = Execution.objects.filter(status__in=ACTIVE_STATUSES).order_by().values_list("status")
    return dict(rows.annotate(count=Count("pk")))


def processes_living() -> list[StreamProcess]:
    """The web processes that report."""
    return list(StreamProcess.objects.living(ALIVE_FOR).order_by("name"))
