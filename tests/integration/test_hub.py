"""The hub's feeds over the real table and the real Redis, on the test's own event loop."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connections
from django_eventstream.models import Event

from taskhub.events import feed as feed_module
from taskhub.events import hub as hub_module
from taskhub.events import outbox
from taskhub.events.filters import Filters
from taskhub.events.hub import Hub
from taskhub.services.tasks import task_create

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    made = Hub()
    yield made
    await made.close()
    await sync_to_async(connections.close_all)()


@sync_to_async
def append(count: int) -> None:
    """Without notifications."""
    for n in range(count):
        outbox.OutboxStorage().append_numbered("tasks", "message", json.dumps({"data": {"task_id": str(n)}}))


async def take(frames: Any, count: int) -> list[str]:
    """The ids of the next `count` events; a piece may hold several."""
    ids: list[str] = []
    async with asyncio.timeout(10):
        async for piece in frames:
            ids += [line[4:] for line in piece.decode().splitlines() if line.startswith("id: ")]
            if len(ids) >= count:
                return ids
    raise AssertionError("the feed ended")


async def test_an_event_reaches_a_waiting_stream(hub: Hub, actor) -> None:
    feed = await hub.feed("tasks")
    waiting = asyncio.create_task(take(feed.follow(feed.head, Filters()), 1))
    await sync_to_async(task_create)(actor=actor, title="t")
    assert await waiting == ["tasks:1"]


async def test_a_lost_notification_is_filled_in_from_the_table_in_order(hub: Hub, actor) -> None:
    feed = await hub.feed("tasks")
    waiting = asyncio.create_task(take(feed.follow(feed.head, Filters()), 4))
    await append(3)  # without a notification
    await sync_to_async(task_create)(actor=actor, title="t")
    assert await waiting == ["tasks:1", "tasks:2", "tasks:3", "tasks:4"]


async def test_the_table_is_looked_at_even_if_no_notification_ever_comes(hub: Hub, monkeypatch) -> None:
    monkeypatch.setattr(hub_module, "CHECK_S", 0.05)
    feed = await hub.feed("tasks")
    waiting = asyncio.create_task(take(feed.follow(feed.head, Filters()), 2))
    await append(2)
    assert await waiting == ["tasks:1", "tasks:2"]


async def test_a_stream_that_fell_behind_the_ring_goes_back_to_the_table(hub: Hub, monkeypatch) -> None:
    monkeypatch.setattr(feed_module, "RING_FRAMES", 10)
    monkeypatch.setattr(hub_module, "CHECK_S", 0.05)
    feed = await hub.feed("tasks")
    frames = feed.follow(feed.head, Filters())
    first = asyncio.create_task(take(frames, 1))
    await append(1)
    assert await first == ["tasks:1"]
    await append(500)
    while feed.head < 501:
        await feed.moved.wait()
    assert feed.recent(1) is None
    assert await take(frames, 500) == [f"tasks:{n}" for n in range(2, 502)]
    # Once, however many pages of the table it took; and the last event is counted when the next one is asked for.
    assert feed.counters["overflows"] == 1
    assert feed.deliveries == 501


async def test_filters_hold_in_replay(hub: Hub) -> None:
    await append(300)
    feed = await hub.feed("tasks")
    assert await take(feed.follow(0, Filters(task_id="250")), 1) == ["tasks:251"]


async def test_a_trimmed_past_is_told_and_then_it_goes_on_live(hub: Hub, actor) -> None:
    await append(10)
    await sync_to_async(Event.objects.filter(eid__lte=8).delete)()
    feed = await hub.feed("tasks")
    frames = feed.follow(3, Filters())
    reset = (await anext(frames)).decode()
    assert '"event":"stream-reset"' in reset
    assert '"reason":"expired"' in reset
    assert reset.startswith("id: tasks:10\n")
    waiting = asyncio.create_task(take(frames, 1))
    await sync_to_async(task_create)(actor=actor, title="t")
    assert await waiting == ["tasks:11"]


async def test_an_id_from_the_future_is_told(hub: Hub) -> None:
    await append(2)
    feed = await hub.feed("tasks")
    reset = (await anext(feed.follow(99, Filters()))).decode()
    assert '"reason":"unknown_id"' in reset
    assert '"current_id":"tasks:2"' in reset


async def test_foreign_messages_on_the_redis_channel_are_ignored(hub: Hub, actor, caplog) -> None:
    feed = await hub.feed("tasks")
    waiting = asyncio.create_task(take(feed.follow(feed.head, Filters()), 1))
    while not hub.redis_ok:  # noqa: ASYNC110 - the listener announces nothing when it is ready
        await asyncio.sleep(0.01)
    client = redis.Redis.from_url(settings.REDIS_URL)
    for message in (b"\xff", b"[]", b"{}", b'{"channel":"tasks","event_type":"m","data":"1","pub_id":"x"}'):
        client.publish("events_channel", message)
    client.close()
    await sync_to_async(task_create)(actor=actor, title="t")
    assert await waiting == ["tasks:1"]
    assert "is not django-eventstream's" in caplog.text


async def test_a_numbered_repeat_is_not_delivered_twice(hub: Hub) -> None:
    feed = await hub.feed("tasks")
    assert feed.take(1, "message", "{}")
    assert feed.take(1, "message", "{}")
    assert not feed.take(3, "message", "{}")
    assert feed.head == 1


async def test_an_id_from_a_process_that_was_ahead_is_no_reset(hub: Hub) -> None:
    feed = await hub.feed("tasks")
    await append(3)  # this process has not heard of them yet
    assert feed.head == 0
    frames = feed.follow(2, Filters())
    assert await take(frames, 1) == ["tasks:3"]


@pytest.mark.parametrize("steps", range(40))
def test_a_loop_that_closes_while_the_hub_connects_ends_it(steps: int) -> None:
    """With one cancellation, as `asyncio.run` sends it, however far the connection to Redis has come."""

    hub = Hub()

    async def begin() -> None:
        hub.start()
        for _ in range(steps):
            await asyncio.sleep(0)

    thread = threading.Thread(target=asyncio.run, args=[begin()], daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    hub.reader.close()
