"""One hub per web process: it follows every channel once, however many streams read it.

How an event gets here:

1. Redis carries a notification. If its number is the next one of its channel, its frame joins the channel's ring.
2. Otherwise (a number is missing, or repeats) the feed reads the table from the last number it has.
3. Every 2 s the hub compares its numbers with the channel counters, in one query for all channels. So a notification
   that never came, a Redis that is away, or a listener that died delays an event by 2 s and loses nothing.

A stream has no queue of its own: it holds a cursor into the ring, and goes back to the table when it has fallen
behind the ring. A slow reader is late, never wrong, and costs no memory.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, Literal, TypeVar
from weakref import WeakKeyDictionary

import redis.asyncio
from django.conf import settings
from django.db import DatabaseError, connections

from taskhub.cancellation import cancel_all
from taskhub.events import storage
from taskhub.events.frames import Filters, Frame, encode_event, join_wanted, read_frame
from taskhub.events.publish import REDIS_CHANNEL
from taskhub.events.reports import Report, withdraw_report, write_report
from taskhub.events.stream import registry
from taskhub.events.types import StreamReset

log = logging.getLogger(__name__)
_T = TypeVar("_T")

RING_FRAMES: Final = 1000
RING_BYTES: Final = 4 * 1024 * 1024
PAGE: Final = 200
"""Events read from the table, or handed to a stream, at a time."""
CHECK_S: Final = 2.0
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
    """Where a stream stands in its channel."""

    __slots__ = ("complete_at", "cursor")

    def __init__(self, cursor: int) -> None:
        self.cursor = cursor
        self.complete_at = time.monotonic()


class Feed:
    """One channel in this process: its recent frames with consecutive numbers, and who waits for the next."""

    def __init__(self, channel: str, reader: TableReader) -> None:
        self.channel = channel
        self.head = -1
        self.readers: set[Reader] = set()
        self.counters: Counter[str] = Counter()
        self._reader = reader
        self._ring: list[Frame] = []
        self._ring_bytes = 0
        self._waiters: set[asyncio.Future[None]] = set()
        self._reading = asyncio.Lock()

    async def open(self) -> None:
        """Learn the channel's last number. Raises DatabaseError."""
        async with self._reading:
            if self.head < 0:
                self.head = (await self._reader.run(storage.read_heads, [self.channel]))[self.channel]

    def take(self, seq: int, event_type: str, data: str) -> bool:
        """A notification came. False if it is not the next one and the table must be asked."""
        if seq != self.head + 1:
            return seq <= self.head
        self._append([read_frame(self.channel, seq, event_type, data)])
        return True

    async def catch_up(self, head: int) -> None:
        """Read what lies between our number and `head`. Raises DatabaseError."""
        async with self._reading:
            while self.head < head:
                rows = await self._reader.run(storage.read_after, self.channel, self.head, PAGE)
                if not rows:
                    # Trimmed before we could read it: streams behind it are told so by their own reading.
                    self._reset(head)
                    return
                frames = [read_frame(self.channel, *row) for row in rows if row.seq > self.head]
                if frames and frames[0].seq != self.head + 1:
                    self._reset(frames[0].seq - 1)
                self._append(frames)

    def _append(self, frames: list[Frame]) -> None:
        if not frames:
            return
        self._ring.extend(frames)
        self._ring_bytes += sum(len(frame.body) for frame in frames)
        self.head = frames[-1].seq
        if len(self._ring) > RING_FRAMES or self._ring_bytes > RING_BYTES:
            self._shorten()
        self._wake()

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
        self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> None:
        """Until the channel moves on."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def recent(self, cursor: int) -> list[Frame] | None:
        """Up to a page of frames after `cursor`; None if the ring no longer reaches back that far."""
        if not self._ring or cursor < self._ring[0].seq - 1:
            return None
        start = cursor - self._ring[0].seq + 1
        return self._ring[start : start + PAGE]

    async def follow(self, cursor: int, filters: Filters) -> AsyncGenerator[bytes, None]:
        """Everything after `cursor` that `filters` want, page by page, for ever.

        A past that has expired, or a number from the future, is answered with `stream-reset`, then it goes on live.
        """
        reader = Reader(cursor)
        self.readers.add(reader)
        try:
            if await self._is_unknown(cursor):
                reader.cursor = self.head
                yield self._reset_frame("unknown_id")
            while True:
                while reader.cursor >= self.head:  # above it: the table was ahead of the notifications
                    await self.wait()
                frames = await self._frames_after(reader.cursor)
                if not frames:
                    reader.cursor = self.head
                    yield self._reset_frame("expired")
                    continue
                for piece in join_wanted(frames, filters):
                    yield piece
                reader.cursor = frames[-1].seq
        finally:
            self.readers.discard(reader)

    async def _is_unknown(self, cursor: int) -> bool:
        """Whether the channel never had this number. The client's last process may have been ahead of this one."""
        while cursor > self.head:
            try:
                head = (await self._reader.run(storage.read_heads, [self.channel]))[self.channel]
                await self.catch_up(head)
            except DatabaseError:
                await asyncio.sleep(CHECK_S)
            else:
                return cursor > head
        return False

    async def _frames_after(self, cursor: int) -> list[Frame]:
        """The next page, from the ring or from the table; empty if what comes next is no longer kept."""
        recent = self.recent(cursor)
        if recent is not None:
            return recent
        self.counters["table_reads"] += 1
        while True:
            try:
                rows = await self._reader.run(storage.read_after, self.channel, cursor, PAGE)
            except DatabaseError:
                await asyncio.sleep(CHECK_S)  # it does not answer now; nothing may be skipped
                continue
            frames = [read_frame(self.channel, *row) for row in rows]
            return frames if frames and frames[0].seq == cursor + 1 else []

    def lag(self) -> tuple[int, float]:
        """How far the slowest stream is behind: in events, and in seconds since it last had everything."""
        now = time.monotonic()
        behind = [reader for reader in self.readers if reader.cursor < self.head]
        for reader in self.readers:
            if reader.cursor >= self.head:
                reader.complete_at = now
        if not behind:
            return 0, 0.0
        return self.head - min(reader.cursor for reader in behind), now - min(reader.complete_at for reader in behind)

    def _reset_frame(self, reason: Literal["expired", "unknown_id"]) -> bytes:
        self.counters["resets"] += 1
        current = f"{self.channel}:{self.head}"
        return encode_event(StreamReset(reason=reason, current_id=current, snapshot_url=SNAPSHOT_URL), event_id=current)


class Hub:
    """The feeds of this process, the one Redis listener and the one check of the table."""

    def __init__(self) -> None:
        self.reader = TableReader()
        self.redis_ok = False
        self.database_ok = True
        self._feeds: dict[str, Feed] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def feed(self, channel: str) -> Feed:
        """The feed of a channel, opened at its present end. Raises DatabaseError if the table cannot be read."""
        self._start()
        feed = self._feeds.setdefault(channel, Feed(channel, self.reader))
        if feed.head < 0:
            await feed.open()
        return feed

    def _start(self) -> None:
        # daphne sends no lifespan: the first stream starts the hub under every server.
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._listen(), name="hub-redis"),
                asyncio.create_task(self._check(), name="hub-table"),
            ]

    async def close(self) -> None:
        if self._tasks:
            await cancel_all(*self._tasks)
            self._tasks.clear()
            try:
                await self.reader.run(withdraw_report, self.report())
            except DatabaseError:
                log.info("the last report of this process is not kept: the database does not answer")
        self.reader.close()

    async def _listen(self) -> None:
        """Follow Redis; when it goes away, come back with backoff, for ever."""
        delay = 0.1
        while True:
            client = redis.asyncio.Redis.from_url(settings.REDIS_URL, health_check_interval=10)
            try:
                async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.subscribe(REDIS_CHANNEL)
                    self.redis_ok, delay = True, 0.1
                    await self._compare()  # what was published while nobody listened
                    async for message in pubsub.listen():
                        await self._take(message["data"])
            except (redis.RedisError, OSError, DatabaseError) as error:
                if self.redis_ok:
                    log.warning("Redis listener lost (%s); streams follow the table", type(error).__name__)
                self.redis_ok = False
            except Exception:
                # Whatever it was, the next try must come: a listener that has died is a process gone deaf.
                log.exception("the Redis listener failed")
                self.redis_ok = False
            finally:
                with suppress(redis.RedisError, OSError):
                    await client.aclose()
            await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 - jitter, not secrecy
            delay = min(delay * 2, 2.0)

    async def _take(self, raw: bytes) -> None:
        try:
            message = json.loads(raw)
            feed = self._feeds.get(message["channel"])
            seq = int(message["pub_id"]) if message["pub_id"] is not None else None
            event_type, data = message["event_type"], message["data"]
        except (ValueError, KeyError, TypeError):
            log.warning("a notification on %s is not django-eventstream's", REDIS_CHANNEL)
            return
        if feed is None or seq is None:
            return
        if not feed.take(seq, event_type, data):
            await feed.catch_up(seq)

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                await self._compare()
                await self.reader.run(write_report, self.report())
            except DatabaseError as error:
                if self.database_ok:
                    log.warning("the event table cannot be read (%s); trying again", type(error).__name__)
                self.database_ok = False
            except Exception:
                log.exception("the look at the event table failed")
            else:
                self.database_ok = True

    async def _compare(self) -> None:
        """Our numbers against the channels' counters, one query for all."""
        heads = await self.reader.run(storage.read_heads, list(self._feeds))
        for channel, head in heads.items():
            feed = self._feeds[channel]
            if 0 <= feed.head < head:
                await feed.catch_up(head)

    def report(self) -> Report:
        """How this process stands, for `/api/events/status`."""
        lags = [feed.lag() for feed in self._feeds.values()] or [(0, 0.0)]
        counters: Counter[str] = Counter(registry.outcomes)
        for feed in self._feeds.values():
            counters.update(feed.counters)
        return {
            "clients": registry.per_channel(),
            "counters": dict(counters),
            "lag_events": max(events for events, _ in lags),
            "lag_s": round(max(seconds for _, seconds in lags), 3),
            "redis": self.redis_ok or not self._tasks,
        }


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def get_hub() -> Hub:
    """The hub of the running event loop: one per process, for a server runs one loop."""
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is None:
        hub = _hubs[loop] = Hub()
    return hub
