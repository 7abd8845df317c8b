from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone
from django_eventstream.models import Event, EventCounter
from django_eventstream.storage import EventDoesNotExist

from taskhub import jobs
from taskhub.events import outbox
from taskhub.events.publish import publish
from taskhub.events.types import TaskDeleted
from tests.costs import analyze, cost_of, forget_statistics

pytestmark = pytest.mark.django_db

UUID = "0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f"


def append(count: int) -> None:
    for n in range(count):
        outbox.OutboxStorage().append_event("tasks", "message", json.dumps(n))


@pytest.mark.django_db(transaction=True)
def test_publish_outside_a_transaction_is_refused() -> None:
    with pytest.raises(RuntimeError, match="transaction"):
        publish(TaskDeleted(task_id=UUID, assignee="", private=False))
    assert not Event.objects.exists()


def test_an_append_is_one_statement_on_postgresql_and_two_on_sqlite(
    numbering_thread, django_assert_num_queries
) -> None:
    with transaction.atomic(), django_assert_num_queries(1 if connection.vendor == "postgresql" else 2):
        outbox.OutboxStorage().append_event("other", "message", "1")


def test_no_event_writes_an_index_that_nothing_reads() -> None:
    if connection.vendor != "postgresql":
        return  # SQLite's tables are made from the library's models
    with connection.cursor() as cursor:
        counter, event = (
            {
                (*found["columns"],)
                for found in connection.introspection.get_constraints(cursor, model._meta.db_table).values()
                if found["index"] or found["unique"]
            }
            for model in (EventCounter, Event)
        )
    assert counter == {("id",), ("name",)}, "an index on what changes with each event stops heap-only updates"
    assert event == {("id",), ("created",), ("channel", "eid")}


def test_numbers_count_per_channel_from_one() -> None:
    store = outbox.OutboxStorage()
    for channel in ("a", "a", "b", "a"):
        store.append_event(channel, "message", "1")
    assert [row.seq for row in outbox.read_after("a", 0, 10)] == [1, 2, 3]
    assert [row.seq for row in outbox.read_after("b", 0, 10)] == [1]
    assert outbox.read_heads(["a", "b", "c"]) == {"a": 3, "b": 1, "c": 0}


def test_library_interface_pages_and_reports_what_expired() -> None:
    append(5)
    store = outbox.OutboxStorage()
    assert [event.id for event in store.get_events("tasks", 0, limit=2)] == [1, 2]
    assert store.get_events("tasks", 5) == []
    with pytest.raises(EventDoesNotExist):
        store.get_events("tasks", 6)
    Event.objects.filter(eid__lte=2).delete()
    with pytest.raises(EventDoesNotExist):
        store.get_events("tasks", 1)
    assert [event.id for event in store.get_events("tasks", 2)] == [3, 4, 5]


def test_retention_takes_the_old_and_leaves_numbers_alone(settings) -> None:
    append(4)
    old = timezone.now() - settings.TASKHUB_EVENTS_KEEP - timedelta(minutes=1)
    Event.objects.filter(eid__lte=3).update(created=old)
    jobs.events_trim()
    assert [row.seq for row in outbox.read_after("tasks", 0, 10)] == [4]
    append(1)
    assert outbox.read_heads(["tasks"]) == {"tasks": 5}


def test_trim_works_through_more_than_one_batch() -> None:
    append(25)
    assert outbox.trim(timezone.now() + timedelta(seconds=1), batch=10) == 25
    assert not Event.objects.exists()


def test_since_finds_the_number_before_the_moment() -> None:
    append(3)
    moment = timezone.now() - timedelta(hours=1)
    Event.objects.filter(eid__lte=2).update(created=moment - timedelta(hours=1))
    assert outbox.read_seq_before("tasks", moment) == 2
    assert outbox.read_seq_before("tasks", timezone.now() + timedelta(hours=1)) == 3


def test_since_a_time_that_has_expired_is_a_number_that_has_expired() -> None:
    append(10)
    Event.objects.filter(eid__lte=4).delete()
    number = outbox.read_seq_before("tasks", timezone.now() - timedelta(days=30))
    with pytest.raises(EventDoesNotExist):
        outbox.OutboxStorage().get_events("tasks", number)


OLD = 1000


def keep_old(numbers: Iterable[int]) -> None:
    """Events of an hour ago."""
    Event.objects.bulk_create(Event(channel="tasks", type="message", data="{}", eid=n) for n in numbers)
    Event.objects.filter(eid__in=numbers).update(created=timezone.now() - timedelta(hours=1))


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (lambda: outbox.trim(timezone.now() - timedelta(days=7)), 0),
        (lambda: outbox.read_seq_before("tasks", timezone.now() - timedelta(minutes=1)), OLD),
        (lambda: outbox.read_rate("tasks"), 0.017),
    ],
    ids=["trim", "since", "rate"],
)
def test_events_that_are_kept_cost_nothing(act: Callable[[], float], expected: float) -> None:
    forget_statistics("django_eventstream_event")
    Event.objects.create(channel="tasks", type="message", data="{}", eid=OLD + 1)
    EventCounter.objects.create(name="tasks", value=OLD + 1)
    keep_old([OLD])
    found, alone = cost_of(act)
    assert found == expected
    keep_old(range(1, OLD))
    analyze()
    found, among = cost_of(act)
    assert (found, among.queries) == (expected, alone.queries)
    assert among.work <= 2 * alone.work + 20, f"{alone} alone, {among} among {OLD}"
