"""Webhooks that the hub sends: requests, retries, fairness between endpoints.

The receivers are real servers, the job is called as a worker would call it, and the clock is moved in the rows.
"""

from __future__ import annotations

import json
import logging
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone
from django_eventstream.models import Event
from standardwebhooks import Webhook, WebhookVerificationError

from taskhub.auth.actor import SYSTEM
from taskhub.events import outbox
from taskhub.models import (
    AuditEntry,
    DeliveryStatus,
    MetricName,
    MetricSample,
    Task,
    WebhookDelivery,
    WebhookEndpoint,
)
from taskhub.observability.metrics_store import Meter
from taskhub.services.tasks import task_create, task_delete, task_update
from taskhub.webhooks import dispatcher, http_client, jobs, queue
from taskhub.webhooks.deliveries import (
    JITTER,
    RETRIES_S,
    TRIES_KEPT,
    delivery_note_attempt,
    delivery_send_again,
    endpoint_send_test,
)
from taskhub.webhooks.endpoints import endpoint_create, endpoint_delete, endpoint_rotate_secret, endpoint_update
from taskhub.webhooks.http_client import ANSWER_LIMIT, Answer
from taskhub.webhooks.jobs import webhooks_deliver, webhooks_trim
from taskhub.webhooks.queue import deliveries_claim, deliveries_write
from tests.receiver import Handler, Receiver, receiving

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


# --- What is sent ------------------------------------------------------------------------------------


def test_an_event_goes_out_as_streams_carry_it_and_signed(receiver: Receiver) -> None:
    _, secret = endpoint_create(actor=SYSTEM, url=receiver.url)
    make_task("Grüße ✓")
    webhooks_deliver()
    (got,) = receiver.requests
    assert got.body == Event.objects.get().data
    assert Webhook(secret).verify(got.body, got.headers) == json.loads(got.body)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(got.body.replace("✓", "x"), got.headers)
    assert got.path == "/hook?key=of-the-receiver"
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert got.headers["content-type"] == "application/json"
    delivery = only()
    assert (delivery.status, str(delivery.pk), delivery.attempts) == (DELIVERED, got.id, 1)
    assert (delivery.sequence, delivery.event_type) == (1, "task_created")
    assert delivery.event_id == json.loads(got.body)["id"]
    assert delivery.delivered_at is not None
    assert [(one["number"], one["response_status"], one["response"]) for one in delivery.tries] == [(1, 200, "thanks")]


def test_a_new_endpoint_is_told_of_what_happens_from_then_on_and_once(receiver: Receiver) -> None:
    make_task("before")
    first = endpoint_at(receiver)
    make_task("between")
    second = endpoint_at(receiver, event_types=["task_updated"])
    task = make_task("after")
    task_update(actor=SYSTEM, task_id=task.pk, title="changed")
    for _ in range(3):
        webhooks_deliver()
    told = sorted(WebhookDelivery.objects.values_list("endpoint", "sequence", "event_type"), key=lambda row: row[1:])
    assert told[:2] == [(first.pk, 2, "task_created"), (first.pk, 3, "task_created")]
    assert sorted(told[2:], key=str) == sorted([(first.pk, 4, "task_updated"), (second.pk, 4, "task_updated")], key=str)
    assert len(receiver.requests) == len({got.id for got in receiver.requests}) == 4
    assert set(WebhookEndpoint.objects.values_list("cursor", flat=True)) == {4}


def test_more_events_than_a_page_are_all_sent(receiver: Receiver, monkeypatch) -> None:
    monkeypatch.setattr(queue, "PAGE", 3)
    endpoint_at(receiver)
    endpoint_at(receiver, event_types=["announcement"])
    for n in range(10):
        make_task(str(n))
    webhooks_deliver()
    titles = [json.loads(got.body)["data"]["title"] for got in receiver.requests]
    assert sorted(titles) == [str(n) for n in range(10)]
    assert set(WebhookEndpoint.objects.values_list("cursor", flat=True)) == {10}


def test_what_is_no_envelope_of_ours_is_passed_over(receiver: Receiver) -> None:
    endpoint = endpoint_at(receiver)
    for data in ("no json", "[1]", '{"data": {}}', '{"id": "x", "event": "e", "data": 1}'):
        outbox.OutboxStorage().append_event("tasks", "message", data)
    make_task()
    webhooks_deliver()
    assert [got.body for got in receiver.requests] == [Event.objects.get(eid=5).data]
    endpoint.refresh_from_db()
    assert endpoint.cursor == 5


def test_two_secrets_sign_for_a_day(receiver: Receiver) -> None:
    endpoint, old = endpoint_create(actor=SYSTEM, url=receiver.url)
    _, new = endpoint_rotate_secret(actor=SYSTEM, endpoint_id=endpoint.pk)
    make_task()
    webhooks_deliver()
    for secret in (old, new):
        Webhook(secret).verify(receiver.requests[0].body, receiver.requests[0].headers)
    WebhookEndpoint.objects.update(secret_before_until=timezone.now())
    make_task()
    webhooks_deliver()
    Webhook(new).verify(receiver.requests[1].body, receiver.requests[1].headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(receiver.requests[1].body, receiver.requests[1].headers)


def test_the_environments_proxy_is_not_asked(receiver: Receiver, monkeypatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    endpoint_at(receiver)
    make_task()
    webhooks_deliver()
    assert only().status == DELIVERED


def test_a_test_event_goes_to_one_endpoint(receiver: Receiver) -> None:
    endpoint, secret = endpoint_create(actor=SYSTEM, url=receiver.url)
    endpoint_at(receiver)
    for _ in range(2):
        endpoint_send_test(actor=SYSTEM, endpoint_id=endpoint.pk)
    webhooks_deliver()
    assert len(receiver.requests) == 2
    said = Webhook(secret).verify(receiver.requests[0].body, receiver.requests[0].headers)
    assert (said["event"], said["data"]) == ("webhook_test", {"webhook_id": str(endpoint.pk)})


# --- When it is sent again ---------------------------------------------------------------------------


def test_it_is_tried_for_a_day_and_then_has_failed(receiver: Receiver) -> None:
    endpoint = endpoint_at(receiver)
    receiver.answers(500, b"no \xff\0 way")
    make_task()
    assert 23 * 3600 < sum(RETRIES_S) < 25 * 3600
    for number, pause_s in enumerate(RETRIES_S, start=1):
        webhooks_deliver()
        delivery = only()
        assert (delivery.status, delivery.attempts, delivery.failures) == (PENDING, number, number)
        wait_s = (delivery.next_attempt_at - datetime.fromisoformat(delivery.tries[-1]["at"])).total_seconds()
        assert pause_s <= wait_s <= pause_s * (1 + JITTER)
        webhooks_deliver()
        assert len(receiver.requests) == number, "it is not due yet"
        expire()
    webhooks_deliver()
    delivery = only()
    assert (delivery.status, delivery.response_status, delivery.error) == (FAILED, 500, "")
    assert delivery.tries[0]["response"] == "no \ufffd\ufffd way"
    expire()
    webhooks_deliver()
    assert len(receiver.requests) == len(RETRIES_S) + 1
    assert len({got.id for got in receiver.requests}) == 1, "one message, whatever the attempt"
    endpoint.refresh_from_db()
    assert endpoint.is_active
    assert endpoint.failing_since == datetime.fromisoformat(delivery.tries[0]["at"])


def test_after_a_success_an_endpoint_is_well_again(receiver: Receiver) -> None:
    endpoint = endpoint_at(receiver)
    receiver.answers(503)
    make_task()
    webhooks_deliver()
    receiver.answers(204)
    expire()
    webhooks_deliver()
    endpoint.refresh_from_db()
    assert endpoint.failing_since is None
    assert (only().status, only().failures) == (DELIVERED, 1)


def test_gone_is_the_end_until_an_operator_says_otherwise(receiver: Receiver) -> None:
    endpoint = endpoint_at(receiver)
    receiver.answers(410)
    for _ in range(3):
        make_task()
    webhooks_deliver()
    webhooks_deliver()
    endpoint.refresh_from_db()
    assert not endpoint.is_active
    assert "410" in endpoint.notice
    assert AuditEntry.objects.get(action="webhook:update").changes["is_active"] == [True, False]
    told = len(receiver.requests)
    make_task()
    webhooks_deliver()
    assert len(receiver.requests) == told
    receiver.answers(200)
    endpoint_update(actor=SYSTEM, endpoint_id=endpoint.pk, is_active=True)
    webhooks_deliver()
    assert WebhookDelivery.objects.filter(status=DELIVERED, sequence=4).exists(), "it goes on where it stood"
    endpoint.refresh_from_db()
    assert (endpoint.notice, endpoint.failing_since) == ("", None)


@pytest.mark.parametrize(
    ("status", "value", "least_s", "most_s"),
    [
        (429, "600", 600, 601),
        (503, "600", 600, 601),
        (503, "date", 590, 601),
        (429, "999999999", 86_400, 86_401),
        (429, "1", 5, 6),
        (429, "-5", 5, 6),
        (429, "soon", 5, 6),
        (429, "Wed, 99 Foo 2026", 5, 6),
        (500, "600", 5, 6),
    ],
)
def test_retry_after(receiver: Receiver, status: int, value: str, least_s: int, most_s: int) -> None:
    if value == "date":
        value = format_datetime(datetime.now(UTC) + timedelta(seconds=600), usegmt=True)
    endpoint = endpoint_at(receiver)
    receiver.answers(status, retry_after=value)
    make_task()
    webhooks_deliver()
    delivery = only()
    tried_at = datetime.fromisoformat(delivery.tries[0]["at"])
    assert least_s <= (delivery.next_attempt_at - tried_at).total_seconds() <= most_s
    endpoint.refresh_from_db()
    if least_s > 5:
        assert endpoint.resting_until is not None
        make_task()
        expire()
        webhooks_deliver()
        assert len(receiver.requests) == 1, "it wants to be left alone, whatever there is to tell"
        WebhookEndpoint.objects.update(resting_until=timezone.now())
        webhooks_deliver()
        assert len(receiver.requests) > 1


def test_a_redirect_is_a_failure_and_not_followed(receiver: Receiver) -> None:
    endpoint_at(receiver)
    with receiving() as elsewhere:
        receiver.answers(307, location=elsewhere.url)
        make_task()
        webhooks_deliver()
        assert (only().status, only().response_status) == (PENDING, 307)
        assert elsewhere.requests == []


def test_a_refused_connection_is_a_failure(receiver: Receiver) -> None:
    with receiving() as gone:
        endpoint_at(gone)
    make_task()
    webhooks_deliver()
    delivery = only()
    assert (delivery.status, delivery.response_status) == (PENDING, None)
    assert delivery.error.startswith("No connection")


def abort(handler: Handler) -> None:
    """As a process that is killed: the connection is reset."""
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def test_a_receiver_that_dies_before_it_has_answered_is_asked_again(receiver: Receiver) -> None:
    endpoint_at(receiver)
    receiver.answer = abort
    make_task()
    webhooks_deliver()
    assert (only().status, only().response_status) == (PENDING, None)
    assert only().error
    receiver.answers(200)
    expire()
    webhooks_deliver()
    first, second = receiver.requests
    assert (first.id, first.body) == (second.id, second.body)
    assert only().status == DELIVERED


def test_half_an_answer_counts_by_its_status(receiver: Receiver) -> None:
    def half(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\nhalf")
        abort(handler)

    endpoint_at(receiver)
    receiver.answer = half
    make_task()
    webhooks_deliver()
    assert (only().status, only().response_status) == (DELIVERED, 202)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200", b"HTTP/1.1 999999 x\r\n\r\n"])
def test_what_is_not_http_is_a_failure(receiver: Receiver, answer: bytes) -> None:
    def speak(handler: Handler) -> None:
        handler.wfile.write(answer)
        handler.close_connection = True

    endpoint_at(receiver)
    receiver.answer = speak
    make_task()
    webhooks_deliver()
    assert (only().status, only().response_status) == (PENDING, None)
    assert only().error


def test_a_huge_answer_is_not_read_to_its_end(receiver: Receiver) -> None:
    hung_up = threading.Event()
    sent = 0

    def endless(handler: Handler) -> None:
        nonlocal sent
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                sent += handler.wfile.write(b"x" * 65_536)
        except OSError:
            hung_up.set()

    endpoint_at(receiver)
    receiver.answer = endless
    make_task()
    webhooks_deliver()
    assert hung_up.wait(30)
    # With what lies in the buffers of both ends.
    assert ANSWER_LIMIT <= sent < 32 * ANSWER_LIMIT
    delivery = only()
    assert (delivery.status, delivery.tries[0]["response"]) == (DELIVERED, "x" * 500)


def test_a_receiver_that_says_nothing_is_given_up(receiver: Receiver, monkeypatch) -> None:
    monkeypatch.setattr(http_client, "TIMEOUT_S", 0.2)
    over = threading.Event()
    endpoint_at(receiver)
    receiver.answer = lambda _handler: (over.wait(30), None)[1]
    make_task()
    webhooks_deliver()
    over.set()
    assert (only().status, only().response_status) == (PENDING, None)
    assert "did not answer" in only().error


# --- Fairness ------------------------------------------------------------------------------------------


def test_a_slow_receiver_is_waited_for_while_the_others_are_told(receiver: Receiver) -> None:
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
def test_while_one_worker_waits_for_a_slow_receiver_the_next_takes_its_turn(receiver: Receiver, monkeypatch) -> None:
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
def test_two_workers_at_once_send_once(receiver: Receiver, monkeypatch) -> None:
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


def test_those_that_fail_leave_room_for_the_others(receiver: Receiver) -> None:
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


def test_those_that_are_well_come_first(receiver: Receiver) -> None:
    for _ in range(queue.AT_ONCE_FAILING):
        endpoint_at(receiver)
    WebhookEndpoint.objects.update(failing_since=timezone.now())
    good = [endpoint_at(receiver) for _ in range(queue.AT_ONCE // queue.AT_ONCE_PER_ENDPOINT)]
    for _ in range(queue.AT_ONCE_PER_ENDPOINT):
        make_task()
    deliveries_write()
    taken = Counter(delivery.endpoint_id for delivery in deliveries_claim())
    assert taken == {endpoint.pk: queue.AT_ONCE_PER_ENDPOINT for endpoint in good}


def test_all_together_are_no_more_than_so_many(receiver: Receiver) -> None:
    for _ in range(queue.AT_ONCE // queue.AT_ONCE_PER_ENDPOINT + 3):
        endpoint_at(receiver)
    for _ in range(queue.AT_ONCE_PER_ENDPOINT + 1):
        make_task()
    deliveries_write()
    assert len(deliveries_claim()) == queue.AT_ONCE


# --- Workers that die --------------------------------------------------------------------------------


def test_what_was_written_and_not_sent_is_sent_by_the_next_worker(receiver: Receiver) -> None:
    endpoint_at(receiver)
    make_task()
    deliveries_write()
    assert receiver.requests == []
    webhooks_deliver()
    assert [got.id for got in receiver.requests] == [str(only().pk)]


def test_what_a_dead_worker_was_sending_is_sent_again_when_its_lease_is_over(receiver: Receiver) -> None:
    endpoint_at(receiver)
    make_task()
    deliveries_write()
    (lost,) = deliveries_claim()
    webhooks_deliver()
    assert receiver.requests == []
    WebhookDelivery.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    webhooks_deliver()
    assert [got.id for got in receiver.requests] == [str(lost.pk)]
    assert (only().status, only().attempts) == (DELIVERED, 2)


def test_a_worker_that_lost_its_lease_settles_nothing(receiver: Receiver, caplog) -> None:
    endpoint = endpoint_at(receiver)
    make_task()
    deliveries_write()
    (late,) = deliveries_claim()
    WebhookDelivery.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    webhooks_deliver()
    assert not delivery_note_attempt(delivery=late, answer=Answer(410))
    assert "after its lease had run out" in caplog.text
    endpoint.refresh_from_db()
    assert (only().status, endpoint.is_active, endpoint.failing_since) == (DELIVERED, True, None)


def test_while_another_worker_has_the_lease_its_attempt_counts(receiver: Receiver) -> None:
    endpoint_at(receiver)
    make_task()
    deliveries_write()
    (late,) = deliveries_claim()
    WebhookDelivery.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
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


def test_what_fails_beside_the_sending_is_raised_once_all_have_ended(receiver: Receiver, monkeypatch) -> None:
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
def test_a_history_that_was_trimmed_is_told_and_it_goes_on(receiver: Receiver, caplog, kept: int) -> None:
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


def test_an_endpoint_that_is_paused_goes_on_where_it_stood(receiver: Receiver) -> None:
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


def test_an_endpoint_that_is_far_behind_leaves_its_events_in_the_outbox(receiver: Receiver, monkeypatch) -> None:
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


def test_retention_takes_what_is_old_and_over(receiver: Receiver, settings) -> None:
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


def test_sending_again_keeps_the_id_and_tries_for_another_day(receiver: Receiver) -> None:
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


def test_the_log_of_attempts_does_not_grow_for_ever(receiver: Receiver) -> None:
    endpoint_at(receiver)
    make_task()
    for _ in range(TRIES_KEPT + 2):
        webhooks_deliver()
        delivery_send_again(actor=SYSTEM, delivery_id=only().pk)
    assert [one["number"] for one in only().tries] == list(range(3, TRIES_KEPT + 3))


# --- Private tasks -----------------------------------------------------------------------------------


def test_private_tasks_are_told_to_those_endpoints_alone_that_are_for_them(receiver: Receiver) -> None:
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


def test_a_task_that_becomes_private_is_gone_for_the_others_and_nothing_new_is_said(receiver: Receiver) -> None:
    endpoint_at(receiver)
    task = make_task("public")
    webhooks_deliver()
    task_update(actor=SYSTEM, task_id=task.pk, private=True, title="secret plan", assignee="alice")
    webhooks_deliver()
    told = [json.loads(got.body) for got in receiver.requests]
    assert [said["event"] for said in told] == ["task_created", "task_deleted"]
    assert told[1]["data"] == {"task_id": str(task.pk), "assignee": "", "private": False}
    assert "secret plan" not in receiver.requests[1].body


def test_a_retry_tells_nothing_of_a_task_that_has_become_private_since(receiver: Receiver) -> None:
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
        assert (withheld.status, withheld.error) == (FAILED, "Not sent: the task has become private.")
        assert set(WebhookDelivery.objects.filter(endpoint__private=True).values_list("status", flat=True)) == {
            DELIVERED
        }


def test_what_is_still_to_be_written_counts_by_how_the_task_is_now(receiver: Receiver) -> None:
    endpoint_at(receiver)
    task = make_task("public then")
    task_update(actor=SYSTEM, task_id=task.pk, private=True)
    task_delete(actor=SYSTEM, task_id=task.pk)
    webhooks_deliver()
    assert [json.loads(got.body)["event"] for got in receiver.requests] == ["task_deleted"]


# --- Settings that change, figures, secrets ----------------------------------------------------------


def test_a_secret_that_cannot_be_read_any_more_is_a_failure_that_says_so(receiver: Receiver, settings) -> None:
    endpoint_at(receiver)
    settings.SECRET_KEY = "another-" + uuid4().hex
    make_task()
    webhooks_deliver()
    assert receiver.requests == []
    assert (only().status, "rotate it" in only().error) == (PENDING, True)


def test_an_older_secret_key_reads_it_while_it_is_named(receiver: Receiver, settings) -> None:
    endpoint_at(receiver)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-" + uuid4().hex
    make_task()
    webhooks_deliver()
    assert only().status == DELIVERED


def test_private_addresses_that_are_not_allowed_any_more_are_not_sent_to(receiver: Receiver, settings) -> None:
    endpoint_at(receiver)
    settings.TASKHUB_WEBHOOKS_ALLOW_PRIVATE = False
    make_task()
    webhooks_deliver()
    assert receiver.requests == []
    assert only().error == "The endpoint's URL is no longer allowed; change it."


def test_attempts_are_measured(receiver: Receiver, monkeypatch) -> None:
    made = Meter()
    monkeypatch.setattr(dispatcher, "meter", made)
    endpoint_at(receiver)
    receiver.answers(500)
    make_task()
    webhooks_deliver()
    receiver.answers(200)
    expire()
    webhooks_deliver()
    made.write()
    rows = MetricSample.objects.filter(name=MetricName.WEBHOOK_ATTEMPTS).order_by("label").values_list("label", "count")
    assert list(rows) == [("delivered", 1), ("failed", 1)]


def test_secrets_are_in_no_log_no_audit_and_not_in_the_table(receiver: Receiver, caplog) -> None:
    with caplog.at_level(logging.DEBUG):
        endpoint, secret = endpoint_create(actor=SYSTEM, url=receiver.url)
        endpoint_update(actor=SYSTEM, endpoint_id=endpoint.pk, url=receiver.url + "2")
        _, newer = endpoint_rotate_secret(actor=SYSTEM, endpoint_id=endpoint.pk)
        make_task()
        webhooks_deliver()
        receiver.answers(410)
        make_task()
        webhooks_deliver()
    rows = [*WebhookEndpoint.objects.values_list("sealed_secret", "sealed_secret_before"), *AuditEntry.objects.values()]
    for text in (secret, newer, secret.removeprefix("whsec_"), newer.removeprefix("whsec_")):
        assert text not in caplog.text
        assert text not in str(rows)
        assert text not in str(list(WebhookDelivery.objects.values()))
    assert "of-the-receiver" not in str(rows), "an address may be as good as a password"
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("taskhub")]
    assert "of-the-receiver" not in str(logged)
