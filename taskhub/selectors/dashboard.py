"""Counts for the dashboard: events and executions of the last hour or day, in equal parts.

The database counts events: a day may have hundreds of thousands. What is over is read once by a process.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from math import ceil, isnan, nan
from statistics import fmean
from typing import Any, Final, Generic, TypeVar

from django.db.models import Case, Count, F, FloatField, Func, IntegerField, Max, Sum, Value, When
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


T = TypeVar("T")


class _PastParts(Generic[T]):
    """What was read of parts of windows that are over, by name: it does not change any more."""

    OPEN: Final = 2
    """The last parts of a window are read each time: a transaction may still commit into them."""

    def __init__(self) -> None:
        self._read: dict[tuple[int, int], dict[str, T]] = {}

    def first_unknown(self, window: Window) -> int:
        """Of the window's parts, from 0."""
        return next(
            (n for n in range(window.parts) if (window.part_s, window.first + n) not in self._read),
            window.parts - self.OPEN,
        )

    def all_of(self, window: Window, since: int, read: dict[int, dict[str, T]]) -> dict[int, dict[str, T]]:
        """By part from 0: what was read of those from `since` on, and what is known of the others."""
        for n in range(since, window.parts - self.OPEN):
            self._read[window.part_s, window.first + n] = read.get(n, {})
        for part in [part for part in list(self._read) if part[0] == window.part_s and part[1] < window.first]:
            self._read.pop(part, None)
        return {n: self._read.get((window.part_s, window.first + n), {}) for n in range(since)} | read

    def forget(self) -> None:
        self._read.clear()


past_events: Final = _PastParts[float]()
past_executions: Final = _PastParts["array[float]"]()


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
    read: dict[int, dict[str, float]] = defaultdict(dict)
    for part, name, count in counted:
        read[part - window.first][name] = float(count)
    return _series(window, past_events.all_of(window, since, read))


def _series(window: Window, counts: dict[int, dict[str, float]]) -> dict[str, list[float]]:
    return window.spread(
        (window.first + n, name, count) for n, named in counts.items() for name, count in named.items()
    )


def _ended_executions(window: Window) -> dict[int, dict[str, array[float]]]:
    """The run times in seconds of the executions that ended, by part from 0 and outcome; NaN of one that never started.

    Past parts are kept by the process: 8 bytes for an execution.
    """
    since = past_executions.first_unknown(window)
    ended = Execution.objects.filter(finished_at__range=(window.moment(since), window.moment(window.parts)))
    rows: Any = ended.annotate(part=Part("finished_at", window.part_s), ran=RAN).order_by()
    read: dict[int, dict[str, array[float]]] = defaultdict(lambda: defaultdict(lambda: array("d")))
    for part, status, ran in rows.values_list("part", "status", "ran"):
        read[part - window.first][status].append(nan if ran is None else ran)
    return past_executions.all_of(window, since, {n: dict(named) for n, named in read.items()})


def _run_times(window: Window) -> dict[str, tuple[int, list[float]]]:
    """By outcome: how many executions ended, and the run times of those that had started, sorted."""
    found: dict[str, list[float]] = defaultdict(list)
    for n, named in _ended_executions(window).items():
        for status, spans in named.items() if n < window.parts else ():
            found[status] += spans
    return {status: (len(spans), sorted(ran for ran in spans if not isnan(ran))) for status, spans in found.items()}


def executions_by_outcome(window: Window) -> dict[str, list[float]]:
    """Number of executions that ended, by outcome and part."""
    ended = _ended_executions(window).items()
    return _series(window, {n: {status: float(len(spans)) for status, spans in named.items()} for n, named in ended})


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
    return [
        Took(
            status,
            count,
            fmean(spans) if spans else None,
            _percentile(spans, 50),
            _percentile(spans, 95),
            spans[-1] if spans else None,
        )
        for status, (count, spans) in sorted(_run_times(window).items())
    ]


def _percentile(ordered: Sequence[float], percent: int) -> float | None:
    return ordered[max(1, ceil(len(ordered) * percent / 100)) - 1] if ordered else None


def executions_by_span(window: Window) -> dict[str, list[float]]:
    """For each outcome, the number of executions that ran less than each of `SPANS_S`, and longer than all."""
    counted = {}
    for status, (_, spans) in _run_times(window).items():
        below = [bisect_left(spans, float(bound)) for bound in SPANS_S]
        counted[status] = [float(high - low) for low, high in pairwise([0, *below, len(spans)])]
    return {status: counts for status, counts in counted.items() if any(counts)}


def executions_active() -> dict[str, int]:
    """Number of queued, starting and running executions."""
    rows = Execution.objects.filter(status__in=ACTIVE_STATUSES).order_by().values_list("status")
    return dict(rows.annotate(count=Count("pk")))


def processes_living() -> list[StreamProcess]:
    """The web processes that report."""
    return list(StreamProcess.objects.living(ALIVE_FOR).order_by("name"))
