"""Stream connections of this process as rows, and the replays that operators requested for them.

An operator's request may be answered by a process that does not hold the stream, so both sides meet in tables, like
subscriptions: every 2 s, together with the hub's check of the event table, a process writes which streams have opened
and closed, and takes its replays. No stream waits for it.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db import transaction

from taskhub.events.feed import Feed, TableReader
from taskhub.events.open_streams import Registry
from taskhub.events.process_status import PROCESS_NAME
from taskhub.models import Replay, StreamConnection, StreamProcess

AT_ONCE: Final = 1000
"""Rows written at a time: when 10,000 streams reconnect together, the database has other work, too."""
GONE_AFTER: Final = timedelta(minutes=1)


class Attendance:
    """The streams of this process that have a row."""

    def __init__(self) -> None:
        self._rows: set[UUID] = set()

    async def look(self, reader: TableReader, registry: Registry, feed: Feed) -> None:
        """Write the rows of open streams, and give them their replays. Raises DatabaseError."""
        slots = registry.listening()
        opened = [slot.listening for key, slot in slots.items() if key not in self._rows and slot.listening][:AT_ONCE]
        closed = list(self._rows - slots.keys())[:AT_ONCE]
        if not self._rows and not opened:
            return
        kept = await reader.run(_exchange_rows, [listening.row() for listening in opened], closed)
        self._rows = (self._rows | {listening.id for listening in opened}) - set(closed)
        if kept < len(self._rows):
            # This process did not report for so long that others considered it dead.
            self._rows.clear()
        for listener_id in await reader.run(_read_ends):
            if listener_id in slots:
                slots[listener_id].end("ended_by_operator")
        for listener_id, numbers in await reader.run(_take_replays):
            if listener_id in slots:
                feed.repeat(slots[listener_id].repeats, numbers)

    async def close(self, reader: TableReader) -> None:
        """End the connections with the process. Raises DatabaseError."""
        if self._rows:
            await reader.run(_forget)


def _exchange_rows(opened: list[StreamConnection], closed: Collection[UUID]) -> int:
    """Returns the number of rows of this process."""
    if opened:
        StreamConnection.objects.bulk_create(opened, ignore_conflicts=True)
    if closed:
        StreamConnection.objects.filter(pk__in=closed).delete()
    return StreamConnection.objects.filter(process=PROCESS_NAME).count()


def _read_ends() -> list[UUID]:
    """Streams of this process that their account wants closed; their rows are deleted when they have closed."""
    asked = StreamConnection.objects.filter(process=PROCESS_NAME, end_requested=True)
    return list(asked.values_list("pk", flat=True))


@transaction.atomic
def _take_replays() -> list[tuple[UUID, list[int]]]:
    """Replays requested since the last call, oldest first; their rows are deleted."""
    asked = list(Replay.objects.select_for_update().filter(listener__process=PROCESS_NAME).order_by("id"))
    if asked:
        Replay.objects.filter(pk__in=[replay.pk for replay in asked]).delete()
    return [(replay.listener_id, replay.numbers) for replay in asked]


def _forget() -> None:
    StreamConnection.objects.filter(process=PROCESS_NAME).delete()


def stream_connections_drop_orphans() -> int:
    """Delete connections whose process has not reported for a minute; returns their number."""
    living = StreamProcess.objects.all().not_dead(GONE_AFTER)
    deleted, _ = StreamConnection.objects.exclude(process__in=living).delete()
    return deleted
