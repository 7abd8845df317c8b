"""The event streams of this process as rows, and the events that operators want sent again to one of them.

An operator's request may be answered by any process, and by none that holds the stream. So the two meet in tables, as
those of subscriptions do: every 2 s, with the hub's look at the event table, a process writes which streams have opened
and closed, and takes what it is to send again. Nothing of it is waited for by a stream.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db import transaction

from taskhub.events.feed import Feed, TableReader
from taskhub.events.process_status import PROCESS_NAME
from taskhub.events.stream import Registry
from taskhub.models import Replay, StreamConnection

AT_ONCE: Final = 1000
"""Rows that are written in one look: when 10,000 streams come back together the table has other things to do, too."""
GONE_AFTER: Final = timedelta(minutes=1)


class Attendance:
    """Which streams of this process have their row."""

    def __init__(self) -> None:
        self._rows: set[UUID] = set()

    async def look(self, reader: TableReader, registry: Registry, feed: Feed) -> None:
        """Bring the rows up to the open streams, and hand these what they are to get again. Raises DatabaseError."""
        slots = registry.listening()
        opened = [slot.listening for key, slot in slots.items() if key not in self._rows and slot.listening][:AT_ONCE]
        closed = list(self._rows - slots.keys())[:AT_ONCE]
        if not self._rows and not opened:
            return
        kept = await reader.run(_exchange_rows, [listening.row() for listening in opened], closed)
        self._rows = (self._rows | {listening.id for listening in opened}) - set(closed)
        if kept < len(self._rows):
            # This process could not report for so long that others took it for dead.
            self._rows.clear()
        for listener_id, numbers in await reader.run(_take_replays):
            if listener_id in slots:
                feed.repeat(slots[listener_id].repeats, numbers)

    async def close(self, reader: TableReader) -> None:
        """The process ends; so do its streams. Raises DatabaseError."""
        if self._rows:
            await reader.run(_forget)


def _exchange_rows(opened: list[StreamConnection], closed: Collection[UUID]) -> int:
    """How many rows this process has afterwards."""
    if opened:
        StreamConnection.objects.bulk_create(opened, ignore_conflicts=True)
    if closed:
        StreamConnection.objects.filter(pk__in=closed).delete()
    return StreamConnection.objects.filter(process=PROCESS_NAME).count()


@transaction.atomic
def _take_replays() -> list[tuple[UUID, list[int]]]:
    """What was asked for since the last look, the oldest first; it is asked for no longer."""
    asked = list(Replay.objects.select_for_update().filter(listener__process=PROCESS_NAME).order_by("id"))
    if asked:
        Replay.objects.filter(pk__in=[replay.pk for replay in asked]).delete()
    return [(replay.listener_id, replay.numbers) for replay in asked]


def _forget() -> None:
    StreamConnection.objects.filter(process=PROCESS_NAME).delete()


def stream_connections_drop_orphans() -> int:
    """Delete those whose process has been silent for a minute; returns how many."""
    living = StreamConnection.objects.of_living(GONE_AFTER)
    deleted, _ = StreamConnection.objects.exclude(pk__in=living.values("pk")).delete()
    return deleted
