"""One hub per web process: it follows every channel once, however many streams read it.

How an event gets here:

1. Redis carries a notification. If its number is the next one of its channel, its frame joins the channel's ring.
2. Otherwise (a number is missing, or repeats) the feed reads the table from the last number it has.
3. Every 2 s the hub compares its numbers with the channel counters, in one query for all channels. So a notification
   that never came, a Redis that is away, or a listener that died delays an event by 2 s and loses nothing.
   With it goes a look at what is pending: a process that died behind its commit numbered nothing.

With the same look goes one at what the open streams stand on (`credential`): who may no longer see one loses it then;
and one at the rows of the streams themselves (`listeners`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple

import redis.asyncio
from django.conf import settings
from django.db import DatabaseError

from taskhub.events import numbering, outbox
from taskhub.events.channels import TASKS
from taskhub.events.connections import Attendance
from taskhub.events.ephemeral import LiveChannel, LiveReader
from taskhub.events.feed import Feed, TableReader
from taskhub.events.open_streams import registry
from taskhub.events.process_status import Report, withdraw_report, write_report
from taskhub.events.publish import REDIS_CHANNEL
from taskhub.events.revocation import StreamCredential, read_revoked
from taskhub.lib.cancellation import cancel_all, raise_if_cancelled
from taskhub.lib.per_loop import PerLoop
from taskhub.models import MetricName
from taskhub.observability.metrics_store import meter

log = logging.getLogger(__name__)

CHECK_S: Final = 2.0
REPORT_S: Final = 4.0
"""How often a process without streams says that it lives, while it has nothing else to say."""


class Hub:
    """The feeds of this process, the one Redis listener and the one check of the table."""

    def __init__(self) -> None:
        self.reader = TableReader()
        self.redis_ok = False
        self.database_ok = True
        self._feeds: dict[str, Feed] = {}
        self._live: dict[str, LiveChannel] = {}
        self._attendance = Attendance()
        self._looked_at = time.monotonic()
        self._measured: Counter[tuple[MetricName, str]] = Counter()
        self._reported: Report | None = None
        self._reported_at = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    async def feed(self, channel: str) -> Feed:
        """The feed of a channel, opened at its present end. Raises DatabaseError if the table cannot be read."""
        self.start()
        feed = self._feeds.setdefault(channel, Feed(channel, self.reader))
        if feed.head < 0:
            await feed.open()
        return feed

    def join_live(self, channel: str) -> LiveReader:
        """A reader of a channel that keeps nothing; it must `leave`."""
        self.start()
        live = self._live.get(channel)
        if live is None:
            live = self._live[channel] = LiveChannel(partial(self._forget_live, channel), name=channel)
        return live.join()

    def _forget_live(self, channel: str) -> None:
        del self._live[channel]

    def start(self) -> None:
        """Follow Redis, look at the table, and report; a second time it does nothing."""
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
            self._measure()
            try:
                await self.reader.run(meter.write)
                await self._attendance.close(self.reader)
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
                    # redis-py swallows a cancellation at the end of a connect: a loop that closes would wait for ever.
                    raise_if_cancelled()
                    self.redis_ok, delay = True, 0.1
                    await self._compare()  # events published while the subscription was down
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
            channel, event_type, data = message["channel"], message["event_type"], message["data"]
            seq = int(message["pub_id"]) if message["pub_id"] is not None else None
        except (ValueError, KeyError, TypeError):
            log.warning("a notification on %s is not django-eventstream's", REDIS_CHANNEL)
            return
        if seq is not None and seq < 1:
            return  # of a plain `send_event`: the event is pending, and its number will be told
        if seq is None:
            if (live := self._live.get(channel)) is not None:
                live.take(event_type, data)
        elif (feed := self._feeds.get(channel)) is not None and not feed.take(seq, event_type, data):
            await feed.catch_up(seq)

    async def _check(self) -> None:
        while True:
            try:
                await self._look_at_tables()
            except DatabaseError as error:
                if self.database_ok:
                    log.warning("the event table cannot be read (%s); trying again", type(error).__name__)
                self.database_ok = False
            except Exception:
                log.exception("the look at the event table failed")
            else:
                self.database_ok = True
            await asyncio.sleep(CHECK_S)

    async def _look_at_tables(self) -> None:
        """Raises DatabaseError."""
        self._measure()
        report = self._due_report()
        look = await self.reader.run(_look, list(self._feeds), report, registry.credentials())
        registry.end_revoked(look.revoked)
        await self._follow(look.heads)
        look.raise_trouble()
        if report is not None:
            self._reported, self._reported_at = report, time.monotonic()
        if (feed := self._feeds.get(TASKS)) is not None:
            await self._attendance.look(self.reader, registry, feed)

    def _measure(self) -> None:
        """What the streams did since the last look, and how many were open for how long."""
        now = time.monotonic()
        if len(registry):
            meter.add(MetricName.STREAM_SECONDS, len(registry) * (now - self._looked_at))
        self._looked_at = now
        counted: Counter[tuple[MetricName, str]] = Counter()
        counted.update({(MetricName.STREAM_ENDS, outcome): times for outcome, times in registry.outcomes.items()})
        counted.update({(MetricName.STREAM_EVENTS, name): times for name, times in self._counters().items()})
        for (name, label), times in (counted - self._measured).items():
            meter.count(name, label, times)
        self._measured = counted

    def _counters(self) -> Counter[str]:
        """What happened on the streams of this process since it began, but for their ends."""
        counters: Counter[str] = Counter(opened=registry.opened)
        for feed in self._feeds.values():
            counters.update(feed.counters)
            counters["deliveries"] += feed.deliveries
        return counters

    async def _compare(self) -> None:
        """Our numbers against the channels' counters, one query for all."""
        if self._feeds:
            await self._follow(await self.reader.run(outbox.read_heads, list(self._feeds)))

    async def _follow(self, heads: dict[str, int]) -> None:
        for channel, head in heads.items():
            feed = self._feeds[channel]
            if 0 <= feed.head < head:
                await feed.catch_up(head)

    def _due_report(self) -> Report | None:
        """None where no stream is open, the row still says it, and is not so old that this process would seem dead."""
        report = self.report()
        is_old = time.monotonic() - self._reported_at >= REPORT_S
        return report if is_old or report["clients"] or report != self._reported else None

    def report(self) -> Report:
        """How this process stands, for `/api/events/status`."""
        lags = [feed.lag() for feed in self._feeds.values()] or [(0, 0.0)]
        return {
            "clients": registry.per_channel(),
            "counters": dict(self._counters() + registry.outcomes),
            "lag_events": max(events for events, _ in lags),
            "lag_s": round(max(seconds for _, seconds in lags), 3),
            "redis": self.redis_ok or not self._tasks,
        }


class _Look(NamedTuple):
    """`trouble`: why nothing could be written; a database that takes no writes holds no event up."""

    heads: dict[str, int]
    revoked: set[StreamCredential]
    trouble: DatabaseError | None = None

    def raise_trouble(self) -> None:
        if self.trouble is not None:
            raise self.trouble


def _look(channels: list[str], report: Report | None, credentials: Collection[StreamCredential]) -> _Look:
    """All that is read and written at each look, in one visit to the thread of the table. Raises DatabaseError."""
    if numbering.is_pending():
        numbering.request()
    look = _Look(outbox.read_heads(channels) if channels else {}, read_revoked(credentials))
    try:
        if report is not None:
            write_report(report)
        if meter.is_due:
            meter.write()
    except DatabaseError as error:
        return look._replace(trouble=error)
    return look


_hubs: Final = PerLoop(Hub)


def get_hub() -> Hub:
    """The hub of the running event loop: one per process, for a server runs one loop."""
    return _hubs.get()
