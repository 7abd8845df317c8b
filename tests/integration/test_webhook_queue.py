"""The queue of webhook deliveries: leases, fairness between endpoints, retention, private tasks.

The receivers are real servers, the job is called as a worker would call it, and the clock is moved in the rows.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from django_eventstream.models import Event

from taskhub.auth.actor import SYSTEM
from taskhub.models import (
    DeliveryStatus,
    Task,
    WebhookDelivery,
    WebhookEndpoint,
)
from taskhub.services.tasks import task_create, task_delete, task_update
from taskhub.webhooks import dispatcher, jobs, queue
from taskhub.webhooks.deliveries import (
    TRIES_KEPT,
    delivery_note_attempt,
    delivery_send_again,
)
from taskhub.webhooks.endpoints import endpoint_create, endpoint_delete, endpoint_update
from taskhub.webhooks.http_client import Answer
from taskhub.webhooks.jobs import webhooks_deliver, webhooks_trim
from taskhub.webhooks.queue import deliveries_claim, deliveries_write
from tests.receiver import Handler, Receiver, receiving

PassTime = Callable[[float], None]
pytestmark = pytest.mark.django_db
PENDING, DELIVERED, FAILED = DeliveryStatus.PENDING, DeliveryStatus.DELIVERED, DeliveryStatus.FAILED


@pytest.fixture(autouse=True)
def private_addresses(settings) -> None:
    """The receivers are on this machine."""
    settings.TASKHUB_WEBHOOKS_ALLOW_PRIVATE = True


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def endpoint_at(receiver: Receiver, **fields: Any) -> WebhookEndpoint:
    return endpoint_create(actor=SYSTEM, url=receiver.url, **fields)[0]


def make_task(title: str = "t", **fields: Any) -> Task:
    return task_create(actor=SYSTEM, title=title, **fields)


def expire(**fields: Any) -> None:
    """The waiting deliveries are due now."""
    WebhookDelivery.objects.update(next_attempt_at=timezone.now(), **fields)


def only() -> WebhookDelivery:
    return WebhookDelivery.objects.get()


# --- Fairness ------------------------------------------------------------------------------------------


def test_a_slow_receiver_does_not_delay_others(receiver: Receiver) -> None:
    with receiving() as slow:
        endpoint_at(slow)
        endpoint_at(receiver)
        # It answers when the other one has got everything: one after the other this would never end well.
        slow.answer = lambda handler: handler.respond(200 if receiver.wait_for(3, within_s=9) else 500)
        for _ in range(3):
            make_task()
        webhooks_deliver()
    assert Counter(WebhookDelivery.objects.values_list("status", flat=True)) == {DELIVERED: 6}


@pytest.mark.django_db(transaction=True)
def test_the_lock_is_released_while_waiting_for_slow_receivers(receiver: Receiver, monkeypatch) -> None:
    monkeypatch.setattr(dispatcher, "TURN_S", 0.1)
    with receiving() as slow:
        stuck, go_on = threading.Event(), threading.Event()

        def wait(handler: Handler) -> None:
            stuck.set()
            handler.respond(200 if go_on.wait(30) else 500)

        slow.answer = wait
        endpoint_at(slow, event_types=["task_created"])
        endpoint_at(receiver, event_types=["task_updated"])
        task = make_task()
        with at_once(webhooks_deliver):
            assert stuck.wait(30)
            task_update(actor=SYSTEM, task_id=task.pk, title="u")
            until_told(receiver)
            assert WebhookDelivery.objects.get(sequence=1).status == PENDING
            go_on.set()
    assert Counter(WebhookDelivery.objects.values_list("status", flat=True)) == {DELIVERED: 2}


def until_told(receiver: Receiver) -> None:
    """Ticks, as beat has them, until one has had its turn."""
    for _ in range(1000):
        webhooks_deliver()
        if receiver.requests:
            return
    raise AssertionError("no worker got the lock")


@contextmanager
def at_once(*jobs: Callable[[], Any]) -> Iterator[None]:
    """Workers, each with a database connection of its own; what one raises, the test does."""
    errors: list[BaseException] = []

    def work(job: Callable[[], Any]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - for the test's own thread
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()
    assert not errors, errors


@pytest.mark.django_db(transaction=True)
def test_concurrent_workers_send_each_delivery_once(receiver: Receiver, monkeypatch) -> None:
    """Also where the turns fail: it is the leases that count."""

    @contextmanager
    def everybodys(_name: str, **_: Any) -> Iterator[bool]:
        yield True

    monkeypatch.setattr(jobs, "alone", everybodys)
    first, second = endpoint_at(receiver), endpoint_at(receiver)
    for n in range(15):
        make_task(str(n))
    with at_once(*[webhooks_deliver] * 4):
        receiver.wait_for(30)
    assert len(receiver.requests) == len({got.id for got in receiver.requests}) == 30
    assert Counter(WebhookDelivery.objects.values_list("endpoint", "status", "attempts")) == {
        (first.pk, DELIVERED, 1): 15,
        (second.pk, DELIVERED, 1): 15,
    }


def test_failing_endpoints_leave_slots_for_others(receiver: Receiver) -> None:
    bad = [endpoint_at(receiver) for _ in range(queue.AT_ONCE_FAILING + 5)]
    WebhookEndpoint.objects.update(failing_since=timezone.now())
    good = [endpoint_at(receiver) for _ in range(3)]
    for _ in range(8):
        make_task()
    deliveries_write()
    taken = Counter(delivery.endpoint_id for delivery in deliveries_claim())
    assert [taken[endpoint.pk] for endpoint in good] == [queue.AT_ONCE_PER_ENDPOINT] * 3
    assert {taken[endpoint.pk] for endpoint in bad} == {0, 1}
    assert sum(taken[endpoint.pk] for endpoint in bad) == queue.AT_ONCE_FAILING
    more = Counter(delivery.endpoint_id for delivery in deliveries_claim())
    assert not more, "they are leased, and so is their room"


def test_working_endpoints_come_first(receiver: Receiver) -> None:
    for _ in range(queue.AT_ONCE_FAILING):
        endpoint_at(receiver)
    WebhookEndpoint.objects.update(failing_since=timezone.now())
    good = [endpoint_at(receiver) for _ in range(queue.AT_ONCE // queue.AT_ONCE_PER_ENDPOINT)]
    for _ in range(queue.AT_ONCE_PER_ENDPOINT):
        make_task()
    deliveries_write()
    taken = Counter(delivery.endpoint_id for delivery in deliveries_claim())
    assert taken == {endpoint.pk: queue.AT_ONCE_PER_ENDPOINT for endpoint in good}


def test_concurrent_deliveries_are_limited(receiver: Receiver) -> None:
    for _ in range(queue.AT_ONCE // queue.AT_ONCE_PER_ENDPOINT + 3):
        endpoint_at(receiver)
    for _ in range(queue.AT_ONCE_PER_ENDPOINT + 1):
        make_task()
    deliveries_write()
    assert len(deliveries_claim()) == queue.AT_ONCE


def test_where_not_all_have_room_each_has_its_turn(receiver: Receiver) -> None:
    endpoints = {endpoint_at(receiver).pk for _ in range(queue.AT_ONCE // queue.AT_ONCE_PER_ENDPOINT + 3)}
    for _ in range(queue.AT_ONCE_PER_ENDPOINT):
        make_task()
    deliveries_write()
    served: set[Any] = set()
    for _ in range(
        100
    ):  # of eleven, eight are served: that one is left out each time has a chance of 3/11 to the 100th
        served |= {delivery.endpoint_id for delivery in deliveries_claim()}
        WebhookDelivery.objects.update(lease_until=None)
        if served == endpoints:
            break
    assert served == endpoints


# --- Workers that die --------------------------------------------------------------------------------


def test_unsent_deliveries_are_sent_by_the_next_worker(receiver: Receiver) -> None:
    endpoint_at(receiver)
    make_task()
    deliveries_write()
    assert receiver.requests == []
    webhooks_deliver()
    assert [got.id for got in receiver.requests] == [str(only().pk)]


def test_a_dead_workers_delivery_is_sent_again_after_its_lease(receiver: Receiver, pass_time: PassTime) -> None:
    endpoint_at(receiver)
    make_task()
    deliveries_write()
    (lost,) = deliveries_claim()
    webhooks_deliver()
    pass_time(queue.LEASE_S - 1)
    webhooks_deliver()
    assert receiver.requests == []
    pass_time(1)
    webhooks_deliver()
    assert [got.id for got in receiver.requests] == [str(lost.pk)]
    assert (only().status, only().attempts) == (DELIVERED, 2)


def test_a_worker_that_lost_its_lease_settles_nothing(receiver: Receiver, caplog, pass_time: PassTime) -> None:
    endpoint = endpoint_at(receiver)
    make_task()
    deliveries_write()
    (late,) = deliveries_claim()
    assert deliveries_claim() == []
    pass_time(queue.LEASE_S)
    webhooks_deliver()
    assert not delivery_note_attempt(delivery=late, answer=Answer(410))
    assert "after its lease had run out" in caplog.text
    endpoint.refresh_from_db()
    assert (only().status, endpoint.is_active, endpoint.failing_since) == (DELIVERED, True, None)


def test_while_another_worker_has_the_lease_its_attempt_counts(receiver: Receiver, pass_time: PassTime) -> None:
    endpoint_at(receiver)
    make_task()
    deliveries_write()
    (late,) = deliveries_claim()
    assert deliveries_claim() == []
    pass_time(queue.LEASE_S)
    (holds,) = deliveries_claim()
    assert not delivery_note_attempt(delivery=late, answer=Answer(500))
    assert delivery_note_attempt(delivery=holds, answer=Answer(200))
    assert [one["number"] for one in only().tries] == [2]


def test_a_delivery_deleted_while_it_is_sent_is_not_settled(receiver: Receiver) -> None:
    endpoint = endpoint_at(receiver)
    make_task()
    deliveries_write()
    (sent,) = deliveries_claim()
    endpoint_delete(actor=SYSTEM, endpoint_id=endpoint.pk)
    assert not delivery_note_attempt(delivery=sent, answer=Answer(500))


@pytest.mark.django_db(transaction=True)
def test_a_page_and_its_cursor_are_one_transaction(receiver: Receiver, monkeypatch) -> None:
    endpoint = endpoint_at(receiver)
    make_task()

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(WebhookEndpoint, "save", die)
        with pytest.raises(KeyboardInterrupt):
            deliveries_write()
    assert not WebhookDelivery.objects.exists()
    webhooks_deliver()
    endpoint.refresh_from_db()
    assert (len(receiver.requests), endpoint.cursor) == (1, 1)


def test_internal_errors_are_raised_after_all_deliveries_have_ended(receiver: Receiver, monkeypatch) -> None:
    noted = []

    def note(*, delivery: WebhookDelivery, answer: Answer) -> bool:
        noted.append(delivery.sequence)
        if len(noted) == 1:
            raise LookupError
        return delivery_note_attempt(delivery=delivery, answer=answer)

    monkeypatch.setattr(dispatcher, "delivery_note_attempt", note)
    endpoint_at(receiver)
    for _ in range(3):
        make_task()
    with pytest.raises(LookupError):
        webhooks_deliver()
    assert Counter(WebhookDelivery.objects.values_list("status", flat=True)) == {DELIVERED: 2, PENDING: 1}


# --- History, pauses, retention ----------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0, 2])
def test_expired_events_are_noted_and_skipped(receiver: Receiver, caplog, kept: int) -> None:
    endpoint = endpoint_at(receiver)
    for _ in range(5):
        make_task()
    Event.objects.filter(eid__lte=5 - kept).delete()
    with caplog.at_level(logging.WARNING):
        webhooks_deliver()
    endpoint.refresh_from_db()
    assert endpoint.notice == f"Events 1 to {5 - kept} expired before they could be sent."
    assert endpoint.notice in caplog.text
    make_task()
    webhooks_deliver()
    assert len(receiver.requests) == kept + 1


def test_a_paused_endpoint_continues_after_its_last_event(receiver: Receiver) -> None:
    endpoint = endpoint_at(receiver)
    make_task("written")
    deliveries_write()
    endpoint_update(actor=SYSTEM, endpoint_id=endpoint.pk, is_active=False)
    make_task("meanwhile")
    webhooks_deliver()
    assert receiver.requests == []
    endpoint_update(actor=SYSTEM, endpoint_id=endpoint.pk, is_active=True)
    webhooks_deliver()
    assert sorted(json.loads(got.body)["data"]["title"] for got in receiver.requests) == ["meanwhile", "written"]


def test_pending_deliveries_of_an_endpoint_are_limited(receiver: Receiver, monkeypatch) -> None:
    monkeypatch.setattr(queue, "PAGE", 2)
    monkeypatch.setattr(queue, "WAITING_LIMIT", 4)
    endpoint = endpoint_at(receiver)
    receiver.answers(500)
    for _ in range(9):
        make_task()
    webhooks_deliver()
    endpoint.refresh_from_db()
    assert (WebhookDelivery.objects.count(), endpoint.cursor) == (4, 4)
    receiver.answers(200)
    expire()
    webhooks_deliver()
    endpoint.refresh_from_db()
    assert (WebhookDelivery.objects.filter(status=DELIVERED).count(), endpoint.cursor) == (9, 9)


def test_retention_deletes_old_finished_deliveries(receiver: Receiver, settings) -> None:
    endpoint_at(receiver)
    for _ in range(3):
        make_task()
    deliveries_write()
    for sequence, status in ((1, DELIVERED), (2, FAILED)):
        WebhookDelivery.objects.filter(sequence=sequence).update(status=status)
    webhooks_trim()
    assert WebhookDelivery.objects.count() == 3
    WebhookDelivery.objects.update(created_at=timezone.now() - settings.TASKHUB_WEBHOOKS_KEEP)
    webhooks_trim()
    assert [delivery.sequence for delivery in WebhookDelivery.objects.all()] == [3]


def test_send_again_keeps_the_id_and_restarts_retries(receiver: Receiver) -> None:
    endpoint_at(receiver)
    make_task()
    webhooks_deliver()
    receiver.answers(500)
    delivery_send_again(actor=SYSTEM, delivery_id=only().pk)
    webhooks_deliver()
    first, second = receiver.requests
    assert (first.id, first.body) == (second.id, second.body)
    assert (only().status, only().attempts, only().failures) == (PENDING, 2, 1)
    assert [one["response_status"] for one in only().tries] == [200, 500]


def test_stored_attempts_are_limited(receiver: Receiver) -> None:
    endpoint_at(receiver)
    make_task()
    for _ in range(TRIES_KEPT + 2):
        webhooks_deliver()
        delivery_send_again(actor=SYSTEM, delivery_id=only().pk)
    assert [one["number"] for one in only().tries] == list(range(3, TRIES_KEPT + 3))


# --- Private tasks -----------------------------------------------------------------------------------


def test_private_tasks_are_sent_only_to_private_endpoints(receiver: Receiver) -> None:
    with receiving() as trusted:
        endpoint_at(receiver)
        endpoint_at(trusted, private=True)
        task = make_task("secret plan", private=True, assignee="alice")
        webhooks_deliver()
        task_update(actor=SYSTEM, task_id=task.pk, title="more secret")
        webhooks_deliver()
        task_delete(actor=SYSTEM, task_id=task.pk)
        webhooks_deliver()
        assert receiver.requests == []
        events = [json.loads(got.body)["event"] for got in trusted.requests]
        assert events == ["task_created", "task_updated", "task_deleted"]


def test_a_task_that_becomes_private_is_deleted_for_public_endpoints(receiver: Receiver) -> None:
    endpoint_at(receiver)
    task = make_task("public")
    webhooks_deliver()
    task_update(actor=SYSTEM, task_id=task.pk, private=True, title="secret plan", assignee="alice")
    webhooks_deliver()
    told = [json.loads(got.body) for got in receiver.requests]
    assert [said["event"] for said in told] == ["task_created", "task_deleted"]
    assert told[1]["data"] == {"task_id": str(task.pk), "assignee": "", "private": False}
    assert "secret plan" not in receiver.requests[1].body


def test_retries_of_tasks_that_became_private_are_withheld(receiver: Receiver) -> None:
    with receiving() as trusted:
        endpoint_at(receiver)
        endpoint_at(trusted, private=True)
        for each in (receiver, trusted):
            each.answers(500)
        task = make_task("public then")
        webhooks_deliver()
        task_update(actor=SYSTEM, task_id=task.pk, private=True)
        for each in (receiver, trusted):
            each.answers(200)
        expire()
        webhooks_deliver()
        expire()
        webhooks_deliver()
        assert [json.loads(got.body)["event"] for got in receiver.requests] == ["task_created", "task_deleted"]
        withheld = WebhookDelivery.objects.get(sequence=1, endpoint__private=False)
        assert (withheld.status, withheld.error) == (FAILED, "Not sent: the task is private, or was then.")
        assert set(WebhookDelivery.objects.filter(endpoint__private=True).values_list("status", flat=True)) == {
            DELIVERED
        }


def test_new_deliveries_use_the_current_privacy_of_the_task(receiver: Receiver) -> None:
    endpoint_at(receiver)
    task = make_task("public then")
    task_update(actor=SYSTEM, task_id=task.pk, private=True)
    task_delete(actor=SYSTEM, task_id=task.pk)
    webhooks_deliver()
    assert [json.loads(got.body)["event"] for got in receiver.requests] == ["task_deleted"]
