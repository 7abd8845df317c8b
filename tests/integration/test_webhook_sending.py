"""Attempts to deliver webhooks: signatures, retries, bad receivers, secrets.

The receivers are real servers, the job is called as a worker would call it, and the clock is moved in the rows.
"""

from __future__ import annotations

import json
import logging
import socket
import struct
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from uuid import uuid4

import pytest
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
from taskhub.services.tasks import task_create, task_update
from taskhub.webhooks import dispatcher, http_client, queue
from taskhub.webhooks.deliveries import (
    JITTER,
    RETRIES_S,
    endpoint_send_test,
)
from taskhub.webhooks.endpoints import endpoint_create, endpoint_rotate_secret, endpoint_update
from taskhub.webhooks.http_client import ANSWER_LIMIT
from taskhub.webhooks.jobs import webhooks_deliver
from tests.receiver import Handler, Receiver, receiving

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]
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


def test_a_delivery_has_the_streams_envelope_and_a_signature(receiver: Receiver) -> None:
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


def test_a_new_endpoint_receives_later_events_once(receiver: Receiver) -> None:
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


def test_messages_without_our_envelope_are_skipped(receiver: Receiver) -> None:
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


def test_proxy_variables_are_ignored(receiver: Receiver, monkeypatch) -> None:
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


def test_retries_end_after_a_day(receiver: Receiver) -> None:
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


def test_a_success_ends_failing(receiver: Receiver) -> None:
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


def test_410_deactivates_the_endpoint(receiver: Receiver) -> None:
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


def test_a_lost_response_is_retried(receiver: Receiver) -> None:
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


def test_a_truncated_response_counts_by_its_status(receiver: Receiver) -> None:
    def half(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\nhalf")
        abort(handler)

    endpoint_at(receiver)
    receiver.answer = half
    make_task()
    webhooks_deliver()
    assert (only().status, only().response_status) == (DELIVERED, 202)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200", b"HTTP/1.1 999999 x\r\n\r\n"])
def test_a_response_that_is_not_http_is_a_failure(receiver: Receiver, answer: bytes) -> None:
    def speak(handler: Handler) -> None:
        handler.wfile.write(answer)
        handler.close_connection = True

    endpoint_at(receiver)
    receiver.answer = speak
    make_task()
    webhooks_deliver()
    assert (only().status, only().response_status) == (PENDING, None)
    assert only().error


def test_a_huge_response_is_not_read_to_its_end(receiver: Receiver) -> None:
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


def test_a_silent_receiver_times_out(receiver: Receiver, monkeypatch) -> None:
    monkeypatch.setattr(http_client, "TIMEOUT_S", 0.2)
    over = threading.Event()
    endpoint_at(receiver)
    receiver.answer = lambda _handler: (over.wait(30), None)[1]
    make_task()
    webhooks_deliver()
    over.set()
    assert (only().status, only().response_status) == (PENDING, None)
    assert "No response within" in only().error


# --- Settings that change, figures, secrets ----------------------------------------------------------


def test_an_undecryptable_secret_is_a_failure(receiver: Receiver, settings) -> None:
    endpoint_at(receiver)
    settings.SECRET_KEY = "another-" + uuid4().hex
    make_task()
    webhooks_deliver()
    assert receiver.requests == []
    assert (only().status, "rotate it" in only().error) == (PENDING, True)


def test_secret_key_fallbacks_decrypt_secrets(receiver: Receiver, settings) -> None:
    endpoint_at(receiver)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-" + uuid4().hex
    make_task()
    webhooks_deliver()
    assert only().status == DELIVERED


def test_disallowed_private_addresses_receive_nothing(receiver: Receiver, settings) -> None:
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


def test_secrets_are_not_in_logs_audit_or_table(receiver: Receiver, caplog) -> None:
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
