"""Counts for the dashboard: events and executions of the last hour or day, in equal parts.

The database counts, in one query each: a day may have hundreds of thousands of events.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from math import ceil
from operator import or_
from typing import Any, Final

from django.db.models import (
    Avg,
    Case,
    Count,
    F,
    FloatField,
    Func,
    IntegerField,
    Max,
    Q,
    QuerySet,
    Sum,
    Value,
    When,
)
from django.db.models import Window as WindowFunction
from django.db.models.functions import RowNumber, Substr
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
    def span(self) -> tuple[datetime, datetime]:
        """Both ends, for conditions on an index: with one alone SQLite would rather read all rows in groups."""
        return self.moment(0), self.moment(self.parts)

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


class _PastParts:
    """Counts of parts of windows that are over: this process has read them, and they do not change any more."""

    OPEN: Final = 2
    """The last parts of a window are counted each time: a transaction may still commit into them."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, int], dict[str, float]] = {}

    def first_unknown(self, window: Window) -> int:
        """Of the window's parts, from 0."""
        known = (window.part_s, window.first)
        return next(
            (n for n in range(window.parts) if (known[0], known[1] + n) not in self._counts), window.parts - self.OPEN
        )

    def keep(self, window: Window, counted: dict[str, list[float]], since: int) -> None:
        for n in range(since, window.parts - self.OPEN):
            found = {name: values[n] for name, values in counted.items() if values[n]}
            self._counts[window.part_s, window.first + n] = found
        for part in [part for part in self._counts if part[0] == window.part_s and part[1] < window.first]:
            self._counts.pop(part, None)

    def fill(self, window: Window, counted: dict[str, list[float]], until: int) -> dict[str, list[float]]:
        """With the counts of the parts before `until`."""
        for n in range(until):
            for name, count in self._counts.get((window.part_s, window.first + n), {}).items():
                counted.setdefault(name, window.nothing)[n] = count
        return counted

    def forget(self) -> None:
        self._counts.clear()


past_events: Final = _PastParts()


def events_by_type(window: Window) -> dict[str, list[float]]:
    """Number of events by type and part; events without our envelope are `other`."""
    since = past_events.first_unknown(window)
    named = [When(said__startswith=f'{name}"', then=Value(name)) for name in EVENT_TYPES]
    counted = (
        Event.objects.filter(created__range=(window.moment(since), window.moment(window.parts)))
        .annotate(part=Part("created", window.part_s))
        .annotate(said=Substr("data", NAME_AT, max(map(len, EVENT_TYPES)) + 1))
        .annotate(name=Case(*named, default=Value(OTHER)))
        .order_by()
        .values_list("part", "name")
        .annotate(count=Count("pk"))
    )
    series = window.spread(counted)
    past_events.keep(window, series, since)
    return past_events.fill(window, series, since)


def executions_by_outcome(window: Window) -> dict[str, list[float]]:
    """Number of executions that ended, by outcome and part."""
    counted = (
        Execution.objects.filter(finished_at__range=window.span)
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
        MetricSample.objects.filter(name=name, at__range=window.span)
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
    """Run times of the executions of one outcome in seconds; None if none of them had started."""

    status: str
    count: int
    mean: float | None
    median: float | None
    p95: float | None
    longest: float | None


class Seconds(Func):
    """Seconds from one time to another: `Seconds(F("started_at"), F("finished_at"))`; null if either is.

    Computed by the database: Django's difference of two times is a Python callback for each row on SQLite.
    """

    output_field = FloatField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        first, last = self.get_source_expressions()
        turned = Seconds(last, first)
        template = "extract(epoch from (%(expressions)s))::double precision"
        return turned.as_sql(compiler, connection, template=template, arg_joiner=" - ", **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        # SQLite counts in milliseconds; the rest is the error of a number of days.
        template = "round((julianday(%(expressions)s)) * -86400.0, 3)"
        return self.as_sql(compiler, connection, template=template, arg_joiner=") - julianday(", **context)


RAN: Final = Seconds(F("started_at"), F("finished_at"))
"""Run time of an execution in seconds; null if it never started."""
SPANS_S: Final = (1, 5, 30, 120, 600, 3600)
"""Upper bounds of the groups of `executions_by_span`."""


def executions_took(window: Window) -> list[Took]:
    """By outcome, for executions that ended in the window. A percentile is the run time that so many of them, in
    percent, do not exceed (nearest rank)."""
    ended = Execution.objects.filter(finished_at__range=window.span).order_by()
    rows = list(
        ended.values("status").annotate(count=Count("pk"), started=Count("started_at"), mean=Avg(RAN), longest=Max(RAN))
    )
    wanted = {
        (row["status"], percent): max(1, ceil(row["started"] * percent / 100)) for row in rows for percent in (50, 95)
    }
    at_rank = _ran_at_ranks(ended, {(status, rank) for (status, _), rank in wanted.items()})
    return [
        Took(
            row["status"],
            row["count"],
            row["mean"],
            at_rank.get((row["status"], wanted[row["status"], 50])),
            at_rank.get((row["status"], wanted[row["status"], 95])),
            row["longest"],
        )
        for row in rows
    ]


def _ran_at_ranks(ended: QuerySet[Execution], wanted: set[tuple[str, int]]) -> dict[tuple[str, int], float]:
    """The run times at these places, by outcome, of those that had started: all sorted once."""
    if not wanted:
        return {}
    place = WindowFunction(RowNumber(), partition_by=F("status"), order_by=RAN.asc())
    rows = (
        ended.filter(started_at__isnull=False)
        .annotate(ran=RAN, place=place)
        .filter(reduce(or_, (Q(status=status, place=rank) for status, rank in wanted)))
        .values_list("status", "place", "ran")
    )
    return {(status, rank): ran for status, rank, ran in rows}


def executions_by_span(window: Window) -> dict[str, list[float]]:
    """For each outcome, the number of executions that ran less than each of `SPANS_S`, and longer than all."""
    spans = [When(ran__lt=float(bound), then=Value(place)) for place, bound in enumerate(SPANS_S)]
    rows = (
        Execution.objects.filter(finished_at__range=window.span, started_at__isnull=False)
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
