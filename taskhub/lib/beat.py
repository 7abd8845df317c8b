"""Celery beat's scheduler on the monotonic clock.

Celery's own keeps the next run of each job as a time of day: a wall clock that is set back by an hour stops all jobs
for as long. Here the "times" of entries are readings of the monotonic clock, which nothing sets.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from celery.beat import ScheduleEntry, Scheduler
from celery.schedules import schedule

from taskhub.lib import ticks

log = logging.getLogger(__name__)


def monotonic_now() -> datetime:
    """The monotonic clock in the form that Celery's schedules reckon with; no time of day."""
    return datetime.fromtimestamp(time.monotonic(), tz=UTC)


class _Interval(schedule):
    """Every so many seconds of the monotonic clock."""


class MonotonicEntry(ScheduleEntry):
    """An entry whose schedule is a number of seconds. Raises TypeError for any other: a crontab needs a time of day."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**{**fields, "schedule": _on_monotonic_clock(fields.get("schedule"))})


def _on_monotonic_clock(every: Any) -> _Interval:
    if isinstance(every, _Interval):
        return every
    if not isinstance(every, int | float | timedelta):
        raise TypeError(f"a job of beat needs an interval in seconds, not {every!r}")
    return _Interval(every, nowfun=monotonic_now)


class MonotonicScheduler(Scheduler):
    """Says once that nothing can be sent, and once that it is over: meanwhile several jobs a second fail."""

    Entry = MonotonicEntry

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._failing_since: float | None = None
        self._unsent = 0
        super().__init__(*args, **kwargs)

    def install_default_entries(self, data: Any) -> None:
        """None: Celery's own entry cleans up stored results, and none are stored."""

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        """`expires` of an entry becomes a tick (`taskhub.lib.ticks`)."""
        options = dict(entry.options)
        expires_s = options.pop("expires", None)
        if expires_s is not None:
            options["headers"] = {**options.get("headers", {}), ticks.HEADER: ticks.issue(expires_s)}
        sent = self.Entry(**{**dict(entry), "options": options})
        return super().apply_async(sent, producer=producer, advance=advance, **kwargs)

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except Exception as error:  # noqa: BLE001 - as Celery has it: whatever fails here, the next job is due
            self._note_failure(entry, error)
        else:
            self._note_success()

    def _note_failure(self, entry: Any, error: Exception) -> None:
        self._unsent += 1
        if self._failing_since is None:
            self._failing_since = time.monotonic()
            cause = error.__cause__ or error.__context__ or error
            log.error("beat cannot send %s (%s: %s), and tries again", entry.task, type(cause).__name__, cause)

    def _note_success(self) -> None:
        if self._failing_since is not None:
            away_s = time.monotonic() - self._failing_since
            log.warning("beat sends again, after %.0f s; %d jobs were not sent", away_s, self._unsent)
            self._failing_since, self._unsent = None, 0
