"""Metrics store: summed up in each process, written to the database about every ten seconds.

Totals over all processes only grow and are the source of `/metrics`. The dashboard's metrics are also kept over time.
A process that is killed loses its last seconds. While the database is away, sums are kept in memory.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from taskhub.models import Heartbeat, MetricName, MetricSample, MetricTotal

EVERY_S: Final = 10.0

OVER_TIME: Final = frozenset(
    {MetricName.STREAM_SECONDS, MetricName.POLL_MS, MetricName.UPSTREAM_REQUESTS, MetricName.WEBHOOK_ATTEMPTS}
)
"""The metrics of the charts."""

BOUNDS: Final[dict[MetricName, tuple[float, ...]]] = {
    MetricName.EXECUTION_S: (1, 5, 30, 120, 600, 3600),
    MetricName.POLL_MS: (50, 100, 500, 1000, 5000),
    MetricName.REQUEST_MS: (5, 10, 50, 100, 500, 1000, 5000),
}
"""Upper bounds of the histogram buckets; values above the last one are in the rest."""


class Key(NamedTuple):
    """`le`: one of the metric's bounds; empty for all values."""

    name: MetricName
    label: str
    le: str = ""


@dataclass(slots=True)
class _Sum:
    count: int = 0
    total: float = 0.0
    most: float = 0.0

    def add(self, count: int, total: float, most: float) -> None:
        self.count += count
        self.total += total
        self.most = max(self.most, most)


_Sums = dict[Key, _Sum]


class Meter:
    """Counts from any thread. `write` uses a database connection, so do not call it on an event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: _Sums = {}
        self._written_at = time.monotonic()

    def add(self, name: MetricName, value: float, label: str = "") -> None:
        """Record one measurement."""
        bounds = BOUNDS.get(name, ())
        place = bisect_left(bounds, value)
        with self._lock:
            self._sums.setdefault(Key(name, label), _Sum()).add(1, value, value)
            if place < len(bounds):
                self._sums.setdefault(Key(name, label, str(bounds[place])), _Sum()).add(1, value, value)

    def count(self, name: MetricName, label: str = "", times: int = 1) -> None:
        """Something happened."""
        with self._lock:
            self._sums.setdefault(Key(name, label), _Sum()).add(times, times, times)

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self._written_at >= EVERY_S

    def write(self) -> None:
        """Increase the totals, and add a row for each metric that is kept over time. Raises DatabaseError; then nothing
        is lost."""
        self._written_at = time.monotonic()
        with self._lock:
            sums, self._sums = self._sums, {}
        if not sums:
            return
        try:
            with transaction.atomic():
                _keep_over_time(sums)
                _raise_totals(sums)
        except DatabaseError:
            with self._lock:
                for key, each in sums.items():
                    self._sums.setdefault(key, _Sum()).add(each.count, each.total, each.most)
            raise


def _keep_over_time(sums: _Sums) -> None:
    now = timezone.now()
    MetricSample.objects.bulk_create(
        MetricSample(at=now, name=key.name, label=key.label, count=each.count, total=each.total, most=each.most)
        for key, each in sums.items()
        if key.name in OVER_TIME and not key.le
    )


def _raise_totals(sums: _Sums) -> None:
    table = MetricTotal._meta.db_table  # noqa: SLF001 - documented
    # The ORM's upsert can only replace. Rows are written in a fixed order, so concurrent processes do not deadlock.
    statement = (
        f"INSERT INTO {table} (name, label, le, count, total) VALUES (%s, %s, %s, %s, %s) "  # noqa: S608 - our own name
        "ON CONFLICT (name, label, le) DO UPDATE "
        f"SET count = {table}.count + excluded.count, total = {table}.total + excluded.total"
    )
    with connection.cursor() as cursor:
        cursor.executemany(statement, [[*key, sums[key].count, sums[key].total] for key in sorted(sums)])


meter: Final = Meter()
"""This process's."""


def read_totals() -> Iterable[MetricTotal]:
    return MetricTotal.objects.order_by("name", "label")


def note_heartbeat(name: str) -> None:
    Heartbeat.objects.update_or_create(pk=name, defaults={"at": timezone.now()})


def trim_measures(before: datetime) -> int:
    """Delete older measurements; returns the number of rows."""
    deleted, _ = MetricSample.objects.filter(at__lt=before).delete()
    return deleted
