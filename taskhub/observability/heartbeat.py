"""Heartbeat of beat (it sends jobs) and of workers (they run jobs).

Distinguishes a dead beat from dead workers: without workers only their heartbeat stops, without beat both stop. A
worker also stores its metrics after a job.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from datetime import datetime
from typing import Any, Final

from celery import signals
from django.db import DatabaseError, connection
from django.utils import timezone

from taskhub.models import Heartbeat
from taskhub.observability.metrics_store import meter, note_heartbeat

log = logging.getLogger(__name__)

EVERY_S: Final = 5.0
READYZ: Final = "readyz"
"""The row that a readiness check writes; nothing is late without it."""
LATE_S: Final = 15.0
"""Considered dead after 15 s without a heartbeat."""


def heartbeat_ages() -> dict[str, float]:
    """Seconds since each heartbeat; processes that never sent one are missing."""
    now = timezone.now()
    return {
        beat.pk: ages.of(beat.pk, beat.at, (now - beat.at).total_seconds())
        for beat in Heartbeat.objects.exclude(pk=READYZ)
    }


class _Ages:
    """How old heartbeats are, though the wall clock may be set: between what this process has seen itself.

    A heartbeat is at least as old as the first look that showed it, and no older than the last look that showed
    another one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[datetime, float, float]] = {}
        """For each name: the heartbeat, the first look that showed it, the last look that showed another."""
        self._looked: dict[str, float] = {}

    def of(self, name: str, at: datetime, wall_s: float) -> float:
        now = time.monotonic()
        with self._lock:
            known = self._seen.get(name)
            first, before = (now, -math.inf) if known is None else (known[1], known[2])
            if known is not None and known[0] != at:
                first, before = now, self._looked[name]
            self._seen[name] = (at, first, before)
            self._looked[name] = now
        return min(max(wall_s, now - first, 0.0), now - before)

    def forget(self) -> None:
        self._seen.clear()


ages: Final = _Ages()
"""This process's."""


class _Pulse:
    def __init__(self, name: str) -> None:
        self._name = name
        self._noted_at = -EVERY_S

    def beat(self, **_: Any) -> None:
        """Signal receiver. The current job continues if the database does not answer."""
        now = time.monotonic()
        if now - self._noted_at < EVERY_S:
            return
        self._noted_at = now
        try:
            note_heartbeat(self._name)
            if meter.is_due:
                meter.write()
        except DatabaseError as error:
            log.warning("the heartbeat of the %s cannot be stored (%s)", self._name, type(error).__name__)


_worker: Final = _Pulse("worker")
_beat: Final = _Pulse("beat")


def connect() -> None:
    """Call in every process; only Celery's processes send these signals, and only beat sends jobs after `beat_init`.

    Beat lives while its jobs reach the broker: a job counts after it was sent.
    """
    signals.task_postrun.connect(_worker.beat, weak=False, dispatch_uid="taskhub.observability.heartbeat")
    signals.beat_init.connect(_in_beat, weak=False, dispatch_uid="taskhub.observability.heartbeat")


_beats: Final[set[int]] = set()
"""The thread of beat in this process, which in a worker (`--with-beat`) is not the only one that sends jobs."""


def _in_beat(**_: Any) -> None:
    _beats.add(threading.get_ident())
    signals.after_task_publish.connect(_from_beat, weak=False, dispatch_uid="taskhub.observability.heartbeat")


def _from_beat(**_: Any) -> None:
    if threading.get_ident() not in _beats:
        return
    connection.close_if_unusable_or_obsolete()  # Celery does this after a worker's jobs
    _beat.beat()
