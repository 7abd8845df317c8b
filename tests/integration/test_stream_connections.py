"""Open event streams as rows: written together, in shares, written again after a silence, and never a poison."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.utils import timezone

from taskhub.api.streams import _asked
from taskhub.events import connections as stream_connections
from taskhub.events.connections import GONE_AFTER, Attendance, stream_connections_drop_orphans
from taskhub.events.filters import Filters
from taskhub.events.frames import encode, read_frame, repeated
from taskhub.events.hub import Hub
from taskhub.events.open_streams import Listening, Registry, Slot
from taskhub.events.process_status import PROCESS_NAME
from taskhub.models import Replay, StreamConnection, StreamProcess
from taskhub.services.tasks import task_create

pytestmark = pytest.mark.django_db(transaction=True)
count = sync_to_async(StreamConnection.objects.count)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    made = Hub()
    yield made
    await made.close()
    await sync_to_async(connections.close_all)()


class House(Registry):
    """A registry whose streams are nothing but their slots."""

    def __init__(self) -> None:
        super().__init__()
        self.inside: dict[UUID, Slot] = {}

    def listening(self) -> dict[UUID, Slot]:
        return dict(self.inside)

    def enter(self) -> Slot:
        slot = Slot("user:1")
        slot.listening = Listening("alice", "127.0.0.1", {"types": "task_created"})
        self.inside[slot.listening.id] = slot
        return slot


async def test_rows_come_and_go_with_the_streams_in_shares(hub: Hub, monkeypatch) -> None:
    monkeypatch.setattr(stream_connections, "AT_ONCE", 2)
    feed, house, attendance = await hub.feed("tasks"), House(), Attendance()
    for _ in range(3):
        house.enter()
    counts = []
    for _ in range(3):
        await attendance.look(hub.reader, house, feed)
        counts.append(await count())
    assert counts == [2, 3, 3]
    house.inside.clear()
    for _ in range(3):
        await attendance.look(hub.reader, house, feed)
        counts.append(await count())
    assert counts[3:] == [1, 0, 0]


async def test_rows_that_others_took_away_are_written_again(hub: Hub) -> None:
    feed, house, attendance = await hub.feed("tasks"), House(), Attendance()
    house.enter()
    await attendance.look(hub.reader, house, feed)
    await sync_to_async(StreamConnection.objects.all().delete)()
    for _ in range(2):
        await attendance.look(hub.reader, house, feed)
    assert await count() == 1
    await attendance.close(hub.reader)
    assert await count() == 0


async def test_a_replay_is_taken_once_and_goes_between_live_events(hub: Hub, actor) -> None:
    feed, house, attendance = await hub.feed("tasks"), House(), Attendance()
    slot = house.enter()
    stream = feed.follow(feed.head, Filters(), slot.repeats)
    first = asyncio.create_task(anext(stream))
    await sync_to_async(task_create)(actor=actor, title="one")
    live = await first
    await attendance.look(hub.reader, house, feed)
    assert slot.listening is not None
    # The second number was never given: what is no longer kept is left out.
    await sync_to_async(Replay.objects.create)(listener_id=slot.listening.id, numbers=[1, 77])
    again = asyncio.create_task(anext(stream))
    await attendance.look(hub.reader, house, feed)
    assert await again == live.split(b"\n", 1)[1]
    assert live.startswith(b"id: tasks:1\n")
    assert not await sync_to_async(Replay.objects.exists)()
    following = asyncio.create_task(anext(stream))
    await attendance.look(hub.reader, house, feed)
    await sync_to_async(task_create)(actor=actor, title="two")
    assert (await following).startswith(b"id: tasks:2\n")


async def test_a_replay_for_a_stream_that_closed_meanwhile_goes_with_it(hub: Hub) -> None:
    feed, house, attendance = await hub.feed("tasks"), House(), Attendance()
    slot = house.enter()
    await attendance.look(hub.reader, house, feed)
    assert slot.listening is not None
    await sync_to_async(Replay.objects.create)(listener_id=slot.listening.id, numbers=[1])
    house.inside.clear()
    await attendance.look(hub.reader, house, feed)
    assert not slot.repeats
    assert not await sync_to_async(Replay.objects.exists)()


def test_rows_of_living_processes_stay(pass_time: Callable[[float], None]) -> None:
    now = timezone.now()
    for name, silent in (("living", 0), ("dead", 120)):
        StreamProcess.objects.create(name=name, reported_at=now - timedelta(seconds=silent), report={})
        StreamConnection.objects.create(id=Listening("", "", {}).id, process=name, opened_at=now)
    assert stream_connections_drop_orphans() == 0
    pass_time(GONE_AFTER.total_seconds())
    StreamProcess.objects.filter(name="living").update(reported_at=timezone.now())
    assert stream_connections_drop_orphans() == 1
    assert StreamConnection.objects.get().process == "living"


def test_whatever_was_asked_for_fits_its_row(rf) -> None:
    asked = _asked(rf.get("/", {"assignee": "a\0" + "b" * 999, "types": "", "nothing": "x"}))
    assert asked == {"assignee": "a" + "b" * 199}
    StreamConnection.objects.create(
        id=Listening("", "", {}).id, filters=asked, process=PROCESS_NAME, opened_at=timezone.now()
    )


@pytest.mark.parametrize("data", ["id: 7\nid: 8", "x", '{"event":"e","data":{"task_id":"1"}}'])
@pytest.mark.parametrize("event", ["message", "id: 3"])
def test_only_the_id_is_left_out_of_a_frame_that_is_repeated(data: str, event: str) -> None:
    frame = read_frame("tasks", 12, event, data)
    assert repeated(frame).body == encode(data, event="" if event == "message" else event)
    assert repeated(repeated(frame)).body == repeated(frame).body
