"""Webhook deliveries over REST and in the admin: their list, and sending one again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.test import APIClient
from standardwebhooks import Webhook

from taskhub.auth.actor import SYSTEM
from taskhub.models import ApiToken, AuditEntry, WebhookDelivery
from taskhub.services.tasks import task_create
from taskhub.webhooks.endpoints import endpoint_create, endpoint_update
from taskhub.webhooks.jobs import webhooks_deliver
from taskhub.webhooks.queue import deliveries_claim
from tests.admin_pages import act
from tests.receiver import Receiver, receiving

pytestmark = pytest.mark.django_db
URL = "https://hooks.example/services/T0/secret-path?key=k"


@pytest.fixture
def rest(operator: User) -> APIClient:
    """The API as an operator."""
    _, token = ApiToken.objects.create(user=operator)
    operator_client = APIClient()
    operator_client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return operator_client


@pytest.fixture
def receiver(settings) -> Iterator[Receiver]:
    settings.TASKHUB_WEBHOOKS_ALLOW_PRIVATE = True
    with receiving() as made:
        yield made


def made_over(rest: APIClient, **fields: Any) -> dict[str, Any]:
    answer = rest.post("/api/webhooks/", {"url": URL, **fields}, format="json")
    assert answer.status_code == 201, answer.content
    assert answer["Cache-Control"] == "no-store"
    body: dict[str, Any] = answer.json()
    return body


def audited(verb: str) -> AuditEntry:
    return AuditEntry.objects.get(action=f"webhook:{verb}")


def test_deliveries_are_listed_newest_first_with_their_attempts(rest: APIClient, receiver: Receiver) -> None:
    made = made_over(rest, url=receiver.url)
    for title in ("first", "second"):
        task_create(actor=SYSTEM, title=title)
        webhooks_deliver()
    receiver.answers(500, b"oh no")
    assert rest.post(f"/api/webhooks/{made['id']}/test/").json()["status"] == "pending"
    webhooks_deliver()
    address = f"/api/webhooks/{made['id']}/deliveries/"
    listed = rest.get(address).json()["results"]
    assert [(one["sequence"], one["event_type"], one["status"]) for one in listed] == [
        (None, "webhook_test", "pending"),
        (2, "task_created", "delivered"),
        (1, "task_created", "delivered"),
    ]
    assert [one["id"] for one in listed] == [got.id for got in reversed(receiver.requests)]
    (one_try,) = listed[0]["tries"]
    assert (one_try["response_status"], one_try["response"], one_try["error"]) == (500, "oh no", "")
    assert [one["sequence"] for one in rest.get(address, {"status": "delivered"}).json()["results"]] == [2, 1]
    assert rest.get(address, {"status": "x"}).status_code == 400
    assert Webhook(made["secret"]).verify(receiver.requests[0].body, receiver.requests[0].headers)


def test_a_delivery_is_sent_again(rest: APIClient, receiver: Receiver) -> None:
    made, other = made_over(rest, url=receiver.url), made_over(rest, url=receiver.url)
    rest.post(f"/api/webhooks/{made['id']}/test/")
    webhooks_deliver()
    delivery = WebhookDelivery.objects.get()
    address = f"/api/webhooks/{made['id']}/deliveries/{delivery.pk}/send-again/"
    assert rest.post(address).status_code == 202
    assert audited("send_again").subject == f"webhook_delivery:{delivery.pk}"
    (leased,) = deliveries_claim()
    answer = rest.post(address)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "webhook_being_sent")
    WebhookDelivery.objects.update(lease_until=None)
    webhooks_deliver()
    assert {got.id for got in receiver.requests} == {str(leased.pk)}
    assert len(receiver.requests) == 2
    assert rest.post(address.replace(made["id"], other["id"])).status_code == 404
    rest.patch(f"/api/webhooks/{made['id']}/", {"is_active": False}, format="json")
    for refused in (address, f"/api/webhooks/{made['id']}/test/"):
        assert rest.post(refused).json()["error"]["code"] == "webhook_not_active"


# --- The admin ---------------------------------------------------------------------------------------


def test_deliveries_are_sent_again_and_refusals_are_named(operator_client: Client, receiver: Receiver) -> None:
    endpoint, _ = endpoint_create(actor=SYSTEM, url=receiver.url)
    paused, _ = endpoint_create(actor=SYSTEM, url=receiver.url)
    task_create(actor=SYSTEM, title="t")
    webhooks_deliver()
    endpoint_update(actor=SYSTEM, endpoint_id=paused.pk, is_active=False)
    said = act(operator_client, "send_again", *WebhookDelivery.objects.all())
    assert "1 of 2 being sent again." in said
    assert "The endpoint is not active" in said
    webhooks_deliver()
    assert len(receiver.requests) == 3
    assert len({got.id for got in receiver.requests}) == 2
    assert (audited("send_again").door, audited("send_again").changes["webhook"]) == (
        "admin",
        [None, str(endpoint.pk)],
    )
