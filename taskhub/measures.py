"""Figures over time: added up in the memory of each process, and written down by it about every ten seconds.

A process that is killed takes its last seconds along. While the database is away the figures wait.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import DatabaseError
from django.utils import timezone

from taskhub.models import Heartbeat, Measure, MeasureName

EVERY_S: Final = 10.0


@dataclass(slots=True)
class _Sum:
    count: int = 0
    total: float = 0.0
    most: float = 0.0

    def add(self, count: int, total: float, most: float) -> None:
        self.count += count
        self.total += total
        self.most = max(self.most, most)


class Meter:
    """Counts from any thread. `write` takes a database connection, and so does not belong on an event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[tuple[MeasureName, str], _Sum] = {}
        self._written_at = time.monotonic()

    def add(self, name: MeasureName, value: float = 1.0, label: str = "") -> None:
        with self._lock:
            self._sums.setdefault((name, label), _Sum()).add(1, value, value)

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self._written_at >= EVERY_S

    def write(self) -> None:
        """One row for each figure there is. Raises DatabaseError; then nothing is lost."""
        self._written_at = time.monotonic()
        with self._lock:
            sums, self._sums = self._sums, {}
        now = timezone.now()
        rows = [
            Measure(at=now, name=name, label=label, count=each.count, total=each.total, most=each.most)
            for (name, label), each in sums.items()
        ]
        if not rows:
            return
        try:
            Measure.objects.bulk_create(rows)
        except DatabaseError:
            with self._lock:
                for key, each in sums.items():
                    self._sums.setdefault(key, _Sum()).add(each.count, each.total, each.most)
            raise


meter: Final = Meter()
"""This process's."""


def note_heartbeat(name: str) -> None:
    Heartbeat.objects.update_or_create(pk=name, defaults={"at": timezone.now()})


def trim_measures(before: datetime) -> int:
    """Delete what was measured before then; answers how many rows."""
    deleted, _ = Measure.objects.filter(at__lt=before).delete()
    return deleted
