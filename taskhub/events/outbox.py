"""Outbox: appends events to django-eventstream's tables.

The library's `DjangoModelStorage` takes seven statements for an event and trims in the request. Here an append is part
of the caller's transaction. On SQLite, whose writers wait for each other anyway, it increments the channel's counter
and inserts: a rollback returns the number, so numbers have no gaps. On PostgreSQL writers do not wait for each other:
the event is inserted among the pending ones, and gets its number behind the commit (`numbering.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from django.db import connection, transaction
from django.db.models import F, Min, QuerySet, Value
from django.db.models.functions import Coalesce
from django.utils import timezone
from django_eventstream.event import Event as Appended
from django_eventstream.models import Event, EventCounter
from django_eventstream.storage import EventDoesNotExist, StorageBase

from taskhub.events import numbering

# Works on PostgreSQL and on SQLite since 3.35.
_NEXT_NUMBER = """
    INSERT INTO django_eventstream_eventcounter (name, value, updated) VALUES (%s, 1, %s)
    ON CONFLICT (name) DO UPDATE
        SET value = django_eventstream_eventcounter.value + 1, updated = excluded.updated
    RETURNING value
"""
_APPEND = "INSERT INTO django_eventstream_event (channel, type, data, created, eid) VALUES (%s, %s, %s, %s, %s)"
# Both in one statement, and before them what is pending: the counter's trigger (migration 0095) moves it.
_APPEND_NEXT = f"""
    WITH counter AS ({_NEXT_NUMBER})
    INSERT INTO django_eventstream_event (channel, type, data, created, eid)
        SELECT %s, %s, %s, %s, value FROM counter
    RETURNING eid
"""  # noqa: S608 - nothing but our own text
_APPEND_PENDING = """
    INSERT INTO taskhub_pendingevent (id, channel, type, data, created)
        VALUES (nextval('django_eventstream_event_id_seq'), %s, %s, %s, %s)
    RETURNING id
"""
# A counter, which the trigger needs. And a limit: all events of the channel wait for the commit of who takes a number,
# but not longer than this for a process that was stopped.
_BEFORE_NUMBER = """
    WITH made AS (
        INSERT INTO django_eventstream_eventcounter (name, value, updated) VALUES (%s, 0, 'epoch')
            ON CONFLICT (name) DO NOTHING
    )
    SELECT set_config('idle_in_transaction_session_timeout', '5s', true)
"""

_NEAR: Final = 1000


class Row(NamedTuple):
    """A row of the table of events; `data` is JSON text."""

    seq: int
    type: str
    data: str


class OutboxStorage(StorageBase):  # type: ignore[misc]  # the library has no types
    """The library's storage interface over the outbox; `data` is JSON text, as its `send_event` passes it."""

    def append_event(self, channel: str, event_type: str, data: str) -> Appended:
        """On PostgreSQL its id is below 0: it is pending, and gets its number behind the commit."""
        if connection.vendor != "postgresql":
            return self.append_numbered(channel, event_type, data)
        with connection.cursor() as cursor:
            cursor.execute(_APPEND_PENDING, [channel, event_type, data, timezone.now()])
            (pending,) = cursor.fetchone()
        transaction.on_commit(numbering.request)
        return Appended(channel, event_type, data, id=-pending)

    def append_numbered(self, channel: str, event_type: str, data: str) -> Appended:
        """With its number at once. On PostgreSQL no other event of the channel gets one before the commit."""
        now = timezone.now()
        # No savepoint: inside a service's transaction all steps commit or roll back with it.
        with transaction.atomic(savepoint=False), connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute(_BEFORE_NUMBER, [channel])
                cursor.execute(_APPEND_NEXT, [channel, now, channel, event_type, data, now])
                (number,) = cursor.fetchone()
            else:
                cursor.execute(_NEXT_NUMBER, [channel, now])
                (number,) = cursor.fetchone()
                cursor.execute(_APPEND, [channel, event_type, data, now, number])
        return Appended(channel, event_type, data, id=number)

    def get_events(self, channel: str, last_id: int, limit: int = 100) -> list[Appended]:
        """Up to `limit` events after `last_id`; raises EventDoesNotExist if some of them have expired."""
        rows = read_after(channel, last_id, limit)
        current = self.get_current_id(channel)
        if last_id > current or (rows[0].seq != last_id + 1 if rows else last_id < current):
            raise EventDoesNotExist(f"No such event {last_id}", current)
        return [Appended(channel, row.type, row.data, id=row.seq) for row in rows]

    def get_current_id(self, channel: str) -> int:
        return read_heads([channel])[channel]


def read_heads(channels: Iterable[str]) -> dict[str, int]:
    """The last number of each channel; 0 for channels without events."""
    wanted = list(channels)
    known = dict(EventCounter.objects.filter(name__in=wanted).values_list("name", "value"))
    return {channel: known.get(channel, 0) for channel in wanted}


def read_after(channel: str, seq: int, limit: int) -> list[Row]:
    """Up to `limit` kept events with a number above `seq`, in order."""
    rows = Event.objects.filter(channel=channel, eid__gt=seq).order_by("eid").values_list("eid", "type", "data")[:limit]
    return [Row(*row) for row in rows]


def read_exactly(channel: str, seqs: Iterable[int]) -> list[Row]:
    """The kept events among these, in order."""
    rows = Event.objects.filter(channel=channel, eid__in=list(seqs)).order_by("eid").values_list("eid", "type", "data")
    return [Row(*row) for row in rows]


def read_seq_before(channel: str, moment: datetime) -> int:
    """The number to resume after in order to receive every event created at `moment` or later.

    If some of those may have expired, the number has expired too, so that the reader is told.
    Times and numbers are not in the same order: an event is timed before its publisher waits for the number. The first
    number is sought among the first `_NEAR` events of that time, far more than publishers wait at once.
    """
    kept = Event.objects.filter(channel=channel)
    near = _by_time(channel).filter(created__gte=moment).order_by("created").values("eid")[:_NEAR]
    first = near.aggregate(first=Min("eid"))["first"]
    if first is None:
        return read_heads([channel])[channel]
    anything_before = first == 1 or kept.filter(eid__lt=first).exists()
    return int(first) - 1 if anything_before else int(first) - 2


def leap(by: int) -> dict[str, list[Any]]:
    """Increase every channel's counter by `by`, in the caller's transaction; returns `[before, after]` of each."""
    counters = EventCounter.objects.select_for_update().order_by("name")
    leaps: dict[str, list[Any]] = {name: [value, value + by] for name, value in counters.values_list("name", "value")}
    EventCounter.objects.filter(name__in=leaps).update(value=F("value") + by)
    return leaps


def trim(before: datetime, *, batch: int = 1000) -> int:
    """Delete events created before `before`, in short transactions; returns how many."""
    deleted = 0
    while True:
        # In the order of their times, which have an index: in that of their ids, all that are kept would be read.
        ids = list(Event.objects.filter(created__lt=before).order_by("created").values_list("id", flat=True)[:batch])
        if not ids:
            return deleted
        count, _ = Event.objects.filter(id__in=ids).delete()
        deleted += count


def _by_time(channel: str) -> QuerySet[Event]:
    """The channel's events for a condition on their times.

    The channel is compared as an expression, or SQLite would walk through all of its events instead of those of a time.
    """
    events: QuerySet[Event] = Event.objects.alias(of=Coalesce("channel", Value(""))).filter(of=channel)
    return events


def read_rate(channel: str, *, over_s: int = 60) -> float:
    """Events per second that were appended during the last `over_s` seconds.

    Numbers have no gaps: the first one of that time and the last one tell how many there are, whatever is kept.
    """
    latest = _by_time(channel).filter(created__gte=timezone.now() - timedelta(seconds=over_s))
    first = latest.order_by("created").values_list("eid", flat=True).first()
    count = 0 if first is None else read_heads([channel])[channel] - first + 1
    return round(count / over_s, 3)
