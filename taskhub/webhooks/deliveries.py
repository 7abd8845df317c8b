"""Webhook deliveries: result of an attempt, retries, send again, test.

At least once: if a worker dies between the receiver's response and `delivery_note_attempt`, its lease expires and the
same message is sent again, with the same `webhook-id`.
"""

from __future__ import annotations

import json
import logging
import random
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from taskhub.auth.actor import Actor
from taskhub.errors import Conflict, NotFound
from taskhub.events.publish import envelope
from taskhub.lib import awake
from taskhub.lib.timestamps import iso
from taskhub.models import DeliveryStatus, WebhookDelivery, WebhookEndpoint
from taskhub.services.audit import audit_write
from taskhub.webhooks.endpoints import endpoint_note_gone
from taskhub.webhooks.http_client import Answer

log = logging.getLogger(__name__)

RETRIES_S: Final = (5, 30, 120, 600, 1800, 3600, 7200, 14_400, 28_800, 28_800)
"""Delay before each retry; when the attempt after the last one has failed, about a day later, the delivery fails."""
JITTER: Final = 0.2
TRIES_KEPT: Final = 20
TEST_EVENT: Final = "webhook_test"


@transaction.atomic
def delivery_note_attempt(*, delivery: WebhookDelivery, answer: Answer) -> bool:
    """Store the result of a claimed delivery; False if its lease has expired and another worker's attempt counts.

    False also if the endpoint was deleted. The endpoint is locked first, in the same order as its deletion.
    """
    endpoint = WebhookEndpoint.objects.select_for_update().filter(pk=delivery.endpoint_id).first()
    if endpoint is None:
        return False
    now = timezone.now()
    outcome = _outcome(delivery, answer, now)
    tries = [*delivery.tries, _try(delivery, answer, now)][-TRIES_KEPT:]
    moved = WebhookDelivery.objects.filter(
        pk=delivery.pk, status=DeliveryStatus.PENDING, attempts=delivery.attempts
    ).update(
        **outcome,
        lease_until=None,
        response_status=answer.status,
        error=answer.error[:300],
        took_ms=answer.took_ms,
        tries=tries,
    )
    if not moved:
        log.warning("webhook delivery %s was sent after its lease had run out", delivery.pk)
        return False
    _note_health(endpoint, answer, now)
    if answer.is_gone:
        endpoint_note_gone(endpoint=endpoint)
    return True


def _note_health(endpoint: WebhookEndpoint, answer: Answer, now: datetime) -> None:
    before = endpoint.failing_since, endpoint.resting_until
    endpoint.failing_since = None if answer.is_success else endpoint.failing_since or now
    if answer.retry_after_s:
        endpoint.resting_until = now + timedelta(seconds=answer.retry_after_s)
    if (endpoint.failing_since, endpoint.resting_until) != before:
        endpoint.save(update_fields=["failing_since", "resting_until"])


def _outcome(delivery: WebhookDelivery, answer: Answer, now: datetime) -> dict[str, Any]:
    if answer.is_success:
        return {"status": DeliveryStatus.DELIVERED, "delivered_at": now}
    failures = delivery.failures + 1
    if answer.is_gone or failures > len(RETRIES_S):
        return {"status": DeliveryStatus.FAILED, "failures": failures}
    wait_s = RETRIES_S[failures - 1] * random.uniform(1, 1 + JITTER)  # noqa: S311 - spreads load, hides nothing
    return {"failures": failures, "next_attempt_at": now + timedelta(seconds=max(wait_s, answer.retry_after_s))}


def _try(delivery: WebhookDelivery, answer: Answer, now: datetime) -> dict[str, Any]:
    return {
        "number": delivery.attempts,
        "at": iso(now),
        "took_ms": answer.took_ms,
        "response_status": answer.status,
        "error": answer.error[:300],
        "response": answer.said,
    }


@transaction.atomic
def delivery_send_again(*, actor: Actor, delivery_id: UUID, endpoint_id: UUID | None = None) -> WebhookDelivery:
    """Send a delivery now, with the same `webhook-id`, and retry for a day if that fails.

    With `endpoint_id` only a delivery of that endpoint is found. Raises NotFound; Conflict while it is being sent, or
    if its endpoint is inactive.
    """
    found = WebhookDelivery.objects.select_for_update(of=("self",)).select_related("endpoint").filter(pk=delivery_id)
    delivery = (found if endpoint_id is None else found.filter(endpoint_id=endpoint_id)).first()
    if delivery is None:
        raise NotFound("Delivery not found.", code="webhook_delivery_not_found")
    _must_be_active(delivery.endpoint)
    now = timezone.now()
    if delivery.lease_until is not None:
        raise Conflict("The delivery is being sent now; try again later.", code="webhook_being_sent")
    before = delivery.status
    delivery.status, delivery.failures, delivery.next_attempt_at = DeliveryStatus.PENDING, 0, now
    delivery.save(update_fields=["status", "failures", "next_attempt_at"])
    changes: dict[str, list[Any]] = {"status": [before, delivery.status], "webhook": [None, str(delivery.endpoint_id)]}
    audit_write(actor=actor, action="webhook:send_again", subject=f"webhook_delivery:{delivery.pk}", changes=changes)
    transaction.on_commit(partial(awake.note, awake.WEBHOOKS))
    return delivery


@transaction.atomic
def endpoint_send_test(*, actor: Actor, endpoint_id: UUID) -> WebhookDelivery:
    """Send an event `webhook_test` to this endpoint only. Raises NotFound; Conflict if it is inactive."""
    endpoint = WebhookEndpoint.objects.select_for_update().filter(pk=endpoint_id).first()
    if endpoint is None:
        raise NotFound("Webhook endpoint not found.", code="webhook_not_found")
    _must_be_active(endpoint)
    said = envelope(TEST_EVENT, {"webhook_id": str(endpoint.pk)})
    delivery = WebhookDelivery.objects.create(
        endpoint=endpoint,
        event_id=said["id"],
        event_type=TEST_EVENT,
        body=json.dumps(said, separators=(",", ":")),
        next_attempt_at=timezone.now(),
    )
    audit_write(actor=actor, action="webhook:test", subject=f"webhook:{endpoint.pk}")
    transaction.on_commit(partial(awake.note, awake.WEBHOOKS))
    return delivery


def deliveries_are_near() -> bool:
    """Whether any delivery is being sent, or is due before a marker that is set now expires."""
    pending = WebhookDelivery.objects.filter(status=DeliveryStatus.PENDING)
    soon = timezone.now() + timedelta(seconds=awake.KEPT_S)
    return pending.filter(Q(lease_until__isnull=False) | Q(next_attempt_at__lte=soon)).exists()


def _must_be_active(endpoint: WebhookEndpoint) -> None:
    if not endpoint.is_active:
        raise Conflict("The endpoint is not active; activate it first.", code="webhook_not_active")


def deliveries_trim(*, before: datetime, batch: int = 1000) -> int:
    """Delete finished deliveries that were created before then, in short transactions.

    Returns their number. Rows that are being deleted with their endpoint are skipped.
    """
    over = WebhookDelivery.objects.filter(created_at__lt=before).exclude(status=DeliveryStatus.PENDING)
    deleted = 0
    while True:
        with transaction.atomic():
            locked = over.order_by("created_at").select_for_update(skip_locked=True)
            keys = list(locked.values_list("pk", flat=True)[:batch])
            WebhookDelivery.objects.filter(pk__in=keys).delete()
        if not keys:
            return deleted
        deleted += len(keys)
