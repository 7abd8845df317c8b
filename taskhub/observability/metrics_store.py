"""Figures: added up in the memory of each process, and written down by it about every ten seconds.

Totals over all processes only grow; they are what `/metrics` tells. What the dashboard draws is kept over time as well.
A process that is killed takes its last seconds along. While the database is away the figures wait.
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
"""What is drawn."""

BOUNDS: Final[dict[MetricName, tuple[float, ...]]] = {
    MetricName.EXECUTION_S: (1, 5, 30, 120, 600, 3600),
    MetricName.POLL_MS: (50, 100, 500, 1000, 5000),
    MetricName.REQUEST_MS: (5, 10, 50, 100, 500, 1000, 5000),
}
"""Where the values of a measure are counted apart, up to each of these; those above the last one are in the rest."""


class Key(NamedTuple):
    """`le`: one of the measure's bounds; empty for all values."""

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
    """Counts from any thread. `write` takes a database connection, and so does not belong on an event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: _Sums = {}
        self._written_at = time.monotonic()

    def add(self, name: MetricName, value: float, label: str = "") -> None:
        """Something was measured once."""
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
        """Raise the totals, and add a row for each figure that is kept over time. Raises DatabaseError; then nothing
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
    # The ORM's own upsert can only replace. Always in the same order: processes that write at once wait in line.
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
    """Delete what was measured before then; answers how many rows."""
    deleted, _ = MetricSample.objects.filter(at__lt=before).delete()
    return deleted
