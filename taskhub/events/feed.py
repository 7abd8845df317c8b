"""Feed: the recent frames of a channel in one process, and the streams that follow it.

A stream has no queue: it has a cursor into the ring buffer of recent frames, and reads the table when it has fallen
behind the ring. A slow reader is late, never wrong, and costs no memory.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Literal, TypeVar

from django.db import DatabaseError, connections

from taskhub.events import outbox
from taskhub.events.announcements import Announcements, holding, note_announcements, read_announcements
from taskhub.events.channels import TASKS
from taskhub.events.filters import Filters, join_wanted
from taskhub.events.frames import Frame, encode_event, read_frame, repeated
from taskhub.events.live_groups import LiveGroups
from taskhub.events.types import Announced, StreamReset
from taskhub.events.visibility import Privacy, read_privacy
from taskhub.lib.wakeup import Wakeup

_T = TypeVar("_T")

RING_FRAMES: Final = 1000
RING_BYTES: Final = 4 * 1024 * 1024
PAGE: Final = 200
PAGE_BYTES: Final = 256 * 1024
"""Bytes of events read from the table, or handed to a stream, at a time. A stalled stream keeps its page in memory."""
RETRY_S: Final = 1.0
SNAPSHOT_URL: Final = "/api/tasks/"


class TableReader:
    """Reads the outbox off the event loop, on one thread with one database connection for the whole process."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="outbox")

    async def run(self, read: Callable[..., _T], *args: Any) -> _T:
        """Raises DatabaseError as the read does; the next call gets a fresh connection."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._guarded, read, *args)

    @staticmethod
    def _guarded(read: Callable[..., _T], *args: Any) -> _T:
        try:
            return read(*args)
        except DatabaseError:
            connections.close_all()
            raise

    def close(self) -> None:
        self._pool.submit(connections.close_all)
        self._pool.shutdown(wait=False)


class Reader:
    """Position of a stream in its channel."""

    __slots__ = ("complete_at", "cursor", "was_live")

    def __init__(self, cursor: int) -> None:
        self.cursor = cursor
        self.was_live = False
        self.complete_at = time.monotonic()


class Feed:
    """A channel in this process: its recent frames with consecutive numbers, and the streams that wait for the next."""

    def __init__(self, channel: str, reader: TableReader) -> None:
        self.channel = channel
        self.head = -1
        self.readers: set[Reader] = set()
        self.counters: Counter[str] = Counter()
        self.deliveries = 0
        self._reader = reader
        self.privacy = Privacy()
        self._announcements: Announcements = {}
        self._ring: list[Frame] = []
        self._ring_bytes = 0
        self.moved = Wakeup()
        self.live = LiveGroups(self)
        self._reading = asyncio.Lock()
        self._pages: dict[int, asyncio.Task[list[Frame]]] = {}

    async def open(self) -> None:
        """Read the channel's last number. Raises DatabaseError."""
        async with self._reading:
            if self.head < 0:
                heads = await self._reader.run(outbox.read_heads, [self.channel])
                await self._read_standing_facts()
                self.head = heads[self.channel]

    async def _read_standing_facts(self) -> None:
        """State that streams need beyond the events of the ring: read once, then updated by events."""
        if self.channel == TASKS:
            self.privacy = await self._reader.run(read_privacy)
            self._announcements = await self._reader.run(read_announcements)

    def announcements(self) -> list[Announced]:
        """Current announcements, newest first, from memory."""
        return holding(self._announcements)

    def take(self, seq: int, event_type: str, data: str) -> bool:
        """Handle a notification. False if it is not the next one and the table must be read."""
        if seq != self.head + 1:
            return seq <= self.head
        self._append([read_frame(self.channel, seq, event_type, data)])
        return True

    async def catch_up(self, head: int) -> None:
        """Read the events between our number and `head`. Raises DatabaseError."""
        async with self._reading:
            while self.head < head:
                rows = await self._reader.run(outbox.read_after, self.channel, self.head, self._page())
                if not rows:
                    # Expired before they were read: streams behind them find out by their own reading.
                    await self._read_standing_facts()
                    self._reset(head)
                    return
                frames = [read_frame(self.channel, *row) for row in rows if row.seq > self.head]
                if frames and frames[0].seq != self.head + 1:
                    await self._read_standing_facts()
                    self._reset(frames[0].seq - 1)
                self._append(frames)

    def _append(self, frames: list[Frame]) -> None:
        if not frames:
            return
        self.privacy.note(frames)
        note_announcements(self._announcements, frames)
        self._ring.extend(frames)
        self._ring_bytes += sum(len(frame.body) for frame in frames)
        self.head = frames[-1].seq
        if len(self._ring) > RING_FRAMES or self._ring_bytes > RING_BYTES:
            self._shorten()
        self._tell_readers()

    def _tell_readers(self) -> None:
        self.moved.send()
        self.live.moved()

    def _shorten(self) -> None:
        """Drop the older half, so that a full ring costs one deletion in many appends."""
        keep = len(self._ring) // 2
        del self._ring[: len(self._ring) - keep]
        self._ring_bytes = sum(len(frame.body) for frame in self._ring)
        while self._ring and self._ring_bytes > RING_BYTES:
            self._ring_bytes -= len(self._ring.pop(0).body)

    def _reset(self, head: int) -> None:
        self._ring.clear()
        self._ring_bytes = 0
        self.head = head
        self._tell_readers()

    def recent(self, cursor: int) -> list[Frame] | None:
        """Up to a page of frames after `cursor`; None if the ring does not reach back that far."""
        if not self._ring or cursor < self._ring[0].seq - 1:
            return None
        start = cursor - self._ring[0].seq + 1
        return self._ring[start : start + self._page()]

    def _page(self) -> int:
        """Number of events of a page, from the mean size of the recent ones."""
        if not self._ring:
            return PAGE
        return max(1, min(PAGE, PAGE_BYTES * len(self._ring) // self._ring_bytes))

    def repeat(self, repeats: list[int], numbers: list[int]) -> None:
        """Have the stream that owns `repeats` send these events again, from the table and between live ones."""
        repeats.extend(numbers)
        self.moved.send()
        self.live.release(repeats)

    def follow(self, cursor: int, filters: Filters, repeats: list[int] | None = None) -> AsyncGenerator[bytes, None]:
        """Everything after `cursor` that `filters` select and allow, page by page, without end.

        If the cursor has expired or is from the future, `stream-reset` is sent first, and the stream continues live.
        Numbers in `repeats` are sent again, without an id; `repeat` adds them.
        """
        return self.read(Reader(cursor), filters, repeats)

    async def read(
        self,
        reader: Reader,
        filters: Filters,
        repeats: list[int] | None = None,
        *,
        goes_live: Callable[[], bool] = lambda: False,
    ) -> AsyncGenerator[bytes, None]:
        """Likewise, from where the reader is. It ends where nothing is left to read and `goes_live` returns True."""
        unfiltered = filters.wants_everything
        self.readers.add(reader)
        try:
            if await self._is_unknown(reader.cursor):
                reader.cursor = self.head
                yield self._reset_frame("unknown_id")
            while await self._is_behind(reader, repeats, goes_live):
                if repeats:
                    for piece in self._joined(await self._read_again(repeats), filters):
                        yield piece
                    continue
                frames = await self._frames_after(reader)
                if not frames:
                    reader.cursor = self.head
                    yield self._reset_frame("expired")
                    continue
                for piece in self._pieces(frames, filters, unfiltered=unfiltered):
                    yield piece
                reader.cursor = frames[-1].seq
        finally:
            self.readers.discard(reader)

    async def _is_behind(self, reader: Reader, repeats: list[int] | None, goes_live: Callable[[], bool]) -> bool:
        """Waits until there is something to read; False once the reader is live."""
        while reader.cursor >= self.head and not repeats:  # greater: the table was ahead of Redis
            reader.was_live = True
            if goes_live():
                return False
            await self.moved.wait()
        return True

    def _pieces(self, frames: list[Frame], filters: Filters, *, unfiltered: bool) -> Iterable[bytes]:
        if unfiltered and len(frames) == 1 and filters.sees(frames[0], self.privacy):
            self.deliveries += 1
            return (frames[0].body,)  # the usual case of a live stream
        return self._joined(frames, filters)

    def _joined(self, frames: list[Frame], filters: Filters) -> Iterator[bytes]:
        for piece in join_wanted(frames, filters, self.privacy):
            self.deliveries += piece.events
            yield piece.body

    async def _is_unknown(self, cursor: int) -> bool:
        """Whether the channel never had this number. The client's last process may have been ahead of this one."""
        while cursor > self.head:
            try:
                head = (await self._reader.run(outbox.read_heads, [self.channel]))[self.channel]
                await self.catch_up(head)
            except DatabaseError:
                await asyncio.sleep(RETRY_S)
            else:
                return cursor > head
        return False

    async def _frames_after(self, reader: Reader) -> list[Frame]:
        """The next page, from the ring or the table; empty if the next events have expired."""
        cursor = reader.cursor
        recent = self.recent(cursor)
        if recent is not None:
            return recent
        if reader.was_live:
            reader.was_live = False
            self.counters["overflows"] += 1
        reading = self._pages.get(cursor)
        if reading is None:
            reading = self._pages[cursor] = asyncio.create_task(self._read_page(cursor))
            reading.add_done_callback(lambda _: self._pages.pop(cursor))
        # Streams that reconnect together missed the same events and share the page; each may be cancelled meanwhile.
        return await asyncio.shield(reading)

    async def _read_page(self, cursor: int) -> list[Frame]:
        self.counters["table_reads"] += 1
        while True:
            try:
                rows = await self._reader.run(outbox.read_after, self.channel, cursor, self._page())
            except DatabaseError:
                await asyncio.sleep(RETRY_S)  # the database does not answer; nothing may be skipped
                continue
            frames = [read_frame(self.channel, *row) for row in rows]
            return frames if frames and frames[0].seq == cursor + 1 else []

    async def _read_again(self, repeats: list[int]) -> list[Frame]:
        """The next page of events to repeat; expired ones are left out."""
        numbers = repeats[: self._page()]
        del repeats[: len(numbers)]
        while True:
            try:
                rows = await self._reader.run(outbox.read_exactly, self.channel, numbers)
            except DatabaseError:
                await asyncio.sleep(RETRY_S)  # as above
            else:
                return [repeated(read_frame(self.channel, *row)) for row in rows]

    def lag(self) -> tuple[int, float]:
        """Lag of the slowest stream: in events, and in seconds since it last was up to date."""
        now = time.monotonic()
        lowest, oldest = self.head, now
        for reader in (*self.readers, *self.live):
            if reader.cursor >= self.head:
                reader.complete_at = now
            else:
                lowest, oldest = min(lowest, reader.cursor), min(oldest, reader.complete_at)
        return self.head - lowest, now - oldest

    def _reset_frame(self, reason: Literal["expired", "unknown_id"]) -> bytes:
        self.counters["resets"] += 1
        current = f"{self.channel}:{self.head}"
        return encode_event(StreamReset(reason=reason, current_id=current, snapshot_url=SNAPSHOT_URL), event_id=current)
