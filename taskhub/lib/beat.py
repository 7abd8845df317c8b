"""Celery beat's scheduler on the monotonic clock.

Celery's own keeps the next run of each job as a time of day: a wall clock that is set back by an hour stops all jobs
for as long. Here the "times" of entries are readings of the monotonic clock, which nothing sets.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import redis
from celery.beat import ScheduleEntry, Scheduler
from celery.schedules import schedule

from taskhub.lib import awake, ticks

log = logging.getLogger(__name__)

AT_REST: Final = "at_rest"
"""Option of an entry: its marker, and the seconds between two jobs while that is not set (`taskhub.lib.awake`)."""
_FRESH_S: Final = 0.2
"""How long what was read of the markers is good: jobs that are due together share one look."""
_SOONER_S: Final = 0.25
"""A job that is due after the last one by a hair too little is not left out for a whole period."""


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
        self._due_at: dict[str, float] = {}
        self._sent_at: dict[str, float] = {}
        self._awake: set[str] = set()
        self._looked_at = -_FRESH_S
        super().__init__(*args, **kwargs)

    def install_default_entries(self, data: Any) -> None:
        """None: Celery's own entry cleans up stored results, and none are stored."""

    def tick(self, *_: Any, **__: Any) -> float:
        """Send what is due; seconds until the next job is. Turns that were missed are not made up for.

        In the place of Celery's own, which takes a third of a millisecond for each job that is left out. Jobs of the
        same period stay due together: beat wakes once for all of them.
        """
        now = time.monotonic()
        entries: dict[str, Any] = self.schedule
        for name, entry in entries.items():
            every_s = entry.schedule.run_every.total_seconds()
            # At first, those that may rest are due at once: there may be work for them.
            due_at = self._due_at.setdefault(name, now if AT_REST in entry.options else now + every_s)
            if due_at <= now:
                self._due_at[name] = due_at + every_s if due_at + every_s > now else now + every_s
                self.apply_entry(entry)
        next_s = min(self._due_at.values(), default=now) - time.monotonic()
        return max(0.0, min(next_s, float(self.max_interval or next_s)))

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        """`expires` of an entry becomes a tick (`taskhub.lib.ticks`)."""
        options = dict(entry.options)
        options.pop(AT_REST, None)
        expires_s = options.pop("expires", None)
        if expires_s is not None:
            options["headers"] = {**options.get("headers", {}), ticks.HEADER: ticks.issue(expires_s)}
        sent = self.Entry(**{**dict(entry), "options": options})
        return super().apply_async(sent, producer=producer, advance=advance, **kwargs)

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        if self._is_at_rest(entry):
            return
        try:
            self.apply_async(entry, producer=producer or self.producer, advance=False)
        except Exception as error:  # noqa: BLE001 - as Celery has it: whatever fails here, the next job is due
            self._note_failure(entry, error)
        else:
            self._sent_at[entry.name] = time.monotonic()
            self._note_success()

    def _is_at_rest(self, entry: Any) -> bool:
        """Whether this job may be left out: nothing has made work for it, and one was sent not long ago."""
        marker, every_s = entry.options.get(AT_REST, (None, 0.0))
        sent_at = self._sent_at.get(entry.name)
        if marker is None or sent_at is None or time.monotonic() - sent_at >= every_s - _SOONER_S:
            return False
        return not self._awake_markers() & {marker, awake.WRITES}

    def _awake_markers(self) -> set[str]:
        """While Redis does not answer, all: the job is sent, which fails, and is told as usual."""
        if time.monotonic() - self._looked_at >= _FRESH_S:
            wanted = {awake.WRITES, *(marker for marker, _ in self._rests())}
            try:
                self._awake = awake.read(wanted)
            except redis.RedisError:
                self._awake = wanted
            self._looked_at = time.monotonic()
        return self._awake

    def _rests(self) -> list[tuple[str, float]]:
        entries: dict[str, Any] = self.schedule
        return [entry.options[AT_REST] for entry in entries.values() if AT_REST in entry.options]

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
