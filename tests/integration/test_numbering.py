"""Numbers of events behind the commit: without gaps, once, and causal, if any process numbers them and any dies."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connections, transaction
from django_eventstream import send_event
from django_eventstream.models import Event, EventCounter

from taskhub.events import hub as hub_module
from taskhub.events import numbering, outbox
from taskhub.events.hub import Hub
from taskhub.models import PendingEvent, PrivateReader, Task
from taskhub.services.event_numbers import LEAP
from taskhub.services.tasks import task_create, task_update

# On SQLite writers take the numbers themselves.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres_only]

WRITERS = 6
WRITES = 40
WITHIN_S = 60


@pytest.fixture
def not_numbered(numbering_thread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is numbered but by the test itself, as if the process died behind its commit."""
    monkeypatch.setattr(numbering, "request", lambda: None)


@pytest.fixture(autouse=True)
def counters(transactional_db: None) -> None:
    """A channel's very first event waits for the commit of another one that takes the first number."""
    for channel in ("tasks", "other"):
        EventCounter.objects.create(name=channel)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The notifications that are sent."""
    messages: list[dict[str, Any]] = []
    monkeypatch.setattr(numbering, "notify", lambda *sent: messages.extend(map(json.loads, sent)))
    return messages


def append(data: str = "1", channel: str = "tasks") -> int:
    return int(outbox.OutboxStorage().append_event(channel, "message", data).id)


def numbers() -> list[tuple[int, str]]:
    return [(row.seq, row.data) for row in outbox.read_after("tasks", 0, 10_000)]


@contextmanager
def elsewhere() -> Iterator[Callable[[Callable[[], Any]], Any]]:
    """Runs functions on a thread of its own, whose connection may be in a transaction meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda act: pool.submit(act).result(WITHIN_S)
        pool.submit(connections.close_all).result(WITHIN_S)


def test_a_committed_event_is_pending_and_unseen_until_a_pass(not_numbered, told) -> None:
    pending = append()
    assert pending < 0
    assert (numbers(), outbox.read_heads(["tasks"])) == ([], {"tasks": 0})
    assert numbering.is_pending()
    assert numbering.number_events()
    assert (numbers(), outbox.read_heads(["tasks"])) == ([(1, "1")], {"tasks": 1})
    assert Event.objects.get().pk == -pending
    assert not numbering.is_pending()
    assert told == [{"channel": "tasks", "event_type": "message", "data": "1", "pub_id": "1"}]


def test_an_open_transaction_holds_up_no_other_event(not_numbered, told) -> None:
    with elsewhere() as other, transaction.atomic():
        append("early")
        other(lambda: append("late"))
        other(numbering.number_events)
        assert other(numbers) == [(1, "late")]
    assert numbering.number_events()
    assert numbers() == [(1, "late"), (2, "early")]


def test_a_channels_first_event_makes_its_counter(not_numbered, told) -> None:
    append(channel="new")
    assert numbering.number_events()
    assert outbox.OutboxStorage().append_numbered("newer", "message", "1").id == 1
    assert outbox.read_heads(["new", "newer"]) == {"new": 1, "newer": 1}


def test_a_rollback_leaves_no_gap(not_numbered, told) -> None:
    append("first")
    with transaction.atomic():
        append("never")
        transaction.set_rollback(True)
    append("second")
    assert numbering.number_events()
    assert numbers() == [(1, "first"), (2, "second")]


def test_passes_and_numbers_taken_at_once_do_not_wait_for_each_other(not_numbered, told) -> None:
    """A pass finds the counter locked. Who takes a number, as the previous release does, numbers before what it saw."""
    append("seen")
    with elsewhere() as other:
        with transaction.atomic():
            append("own")
            assert outbox.OutboxStorage().append_numbered("tasks", "message", "taken").id == 3
            other(lambda: append("meanwhile"))
            assert other(numbering.number_events) is False, "the counter is locked"
        assert numbers() == [(1, "seen"), (2, "own"), (3, "taken")]
        assert other(numbering.number_events) is True
    assert numbers()[3:] == [(4, "meanwhile")]
    assert [message["pub_id"] for message in told] == ["4"]


def test_a_pass_is_tried_again_while_the_counter_is_locked(numbering_thread) -> None:
    with elsewhere() as other:
        with transaction.atomic():
            outbox.OutboxStorage().append_numbered("tasks", "message", "taken")
            other(lambda: append("after"))
        numbering._numberer.finish(WITHIN_S)
    assert numbers() == [(1, "taken"), (2, "after")]


def test_each_channel_has_numbers_of_its_own(not_numbered, told) -> None:
    for channel in ("tasks", "other", "tasks", "other"):
        append(channel, channel)
    with elsewhere() as other, transaction.atomic():
        outbox.OutboxStorage().append_numbered("other", "message", "other")
        append("kept for later", "tasks")
        assert other(numbering.number_events) is False
        assert other(lambda: outbox.read_heads(["tasks", "other"])) == {"tasks": 2, "other": 0}
    assert numbering.number_events()
    assert outbox.read_heads(["tasks", "other"]) == {"tasks": 3, "other": 3}


def test_large_texts_are_told_by_the_last_one_alone(not_numbered, told) -> None:
    large = json.dumps("x" * numbering.PASS_BYTES)
    for text in ("1", large):
        append(text)
    assert numbering.number_events()
    assert [(message["pub_id"], message["data"]) for message in told] == [("2", large)]


def test_many_are_numbered_in_several_passes(not_numbered, told, monkeypatch) -> None:
    monkeypatch.setattr(numbering, "PASS_EVENTS", 10)
    for n in range(25):
        append(str(n))
    assert [numbering.number_events() for _ in range(3)] == [False, False, True]
    assert numbers() == [(n + 1, str(n)) for n in range(25)]
    assert [message["data"] for message in told] == [str(n) for n in range(25)]


def test_after_a_restore_pending_events_get_numbers_behind_the_leap(not_numbered, told) -> None:
    append("before the backup")
    numbering.number_events()
    append("pending in the backup")
    call_command("after_restore", verbosity=0)
    assert numbering.number_events()
    assert numbers() == [(1, "before the backup"), (LEAP + 2, "pending in the backup")]


def test_writers_at_once_get_numbers_without_gaps_in_the_order_of_what_they_saw(numbering_thread) -> None:
    """Each adds one to a row behind its lock, and tells the sum: higher sums were told by who saw the lower ones."""
    task = Task.objects.create(title="counted", version=0)

    def write() -> None:
        for _ in range(WRITES):
            with transaction.atomic():
                row = Task.objects.select_for_update().get(pk=task.pk)
                row.version += 1
                row.save(update_fields=["version"])
                append(json.dumps(row.version))
        connections.close_all()

    threads = [threading.Thread(target=write) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN_S)
    numbering._numberer.finish(WITHIN_S)
    assert numbers() == [(n, str(n)) for n in range(1, WRITERS * WRITES + 1)]
    assert not PendingEvent.objects.exists()


def test_readers_of_private_tasks_are_written_down_by_numbers(not_numbered, told, actor) -> None:
    task = task_create(actor=actor, title="public at first")
    task_update(actor=actor, task_id=task.pk, private=True, assignee="alice")
    task_update(actor=actor, task_id=task.pk, priority="high")
    task_update(actor=actor, task_id=task.pk, private=False)
    task_create(actor=actor, title="private from the beginning", private=True, assignee="alice")
    spans = PrivateReader.objects.order_by("id").values_list("since_event", "until_event")
    assert list(spans) == [(2, 4), (5, None)]
    names = [json.loads(data)["data"]["title"] for _, data in numbers()]
    assert names == [*["public at first"] * 4, "private from the beginning"]


def test_the_thread_survives_a_database_that_does_not_answer(numbering_thread, monkeypatch) -> None:
    failures = [DatabaseError("away"), DatabaseError("still away"), ValueError("anything")]
    number = numbering.number_events

    def fail_first() -> bool:
        if failures:
            raise failures.pop(0)
        return number()

    monkeypatch.setattr(numbering, "_AFTER_ERROR_S", 0.01)
    monkeypatch.setattr(numbering, "number_events", fail_first)
    append()
    numbering._numberer.finish(WITHIN_S)
    assert (numbers(), failures) == ([(1, "1")], [])


async def test_what_a_dead_process_left_is_numbered_by_another_ones_look(numbering_thread, monkeypatch) -> None:
    monkeypatch.setattr(hub_module, "CHECK_S", 0.05)
    request = numbering.request
    monkeypatch.setattr(numbering, "request", lambda: None)
    hub = Hub()
    try:
        feed = await hub.feed("tasks")
        await hub.reader.run(append)
        monkeypatch.setattr(numbering, "request", request)
        while feed.head < 1:
            await feed.moved.wait()
    finally:
        await hub.reader.run(numbering._numberer.finish, WITHIN_S)
        await hub.close()


async def test_a_notification_without_a_number_of_a_plain_send_event_is_ignored(not_numbered) -> None:
    hub = Hub()
    try:
        feed = await hub.feed("tasks")
        await hub.reader.run(send_event, "tasks", "message", {"hello": "world"})
        await hub._take(numbering.notification("tasks", "message", "1", -5))
        assert (feed.head, feed.recent(0)) == (0, None)
    finally:
        await hub.close()
