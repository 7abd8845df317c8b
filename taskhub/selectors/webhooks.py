"""Webhook endpoints and deliveries, for operators."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Count, Min, Q, QuerySet
from django.utils import timezone

from taskhub.errors import Forbidden, NotFound
from taskhub.models import DeliveryStatus, WebhookDelivery, WebhookEndpoint
from taskhub.roles import Role, role_of
from taskhub.selectors.words import in_any_of, with_each_word

FAILING_FOR: Final = timedelta(days=1)
"""Without a successful attempt for so long, an endpoint is reported to operators."""


def webhook_list_for(*, user: User | AnonymousUser) -> QuerySet[WebhookEndpoint]:
    """All endpoints, newest first. Raises Forbidden for non-operators."""
    if role_of(user) < Role.OPERATOR:
        raise Forbidden("Webhooks require the role operator.")
    return WebhookEndpoint.objects.all()


def webhook_get_for(*, user: User | AnonymousUser, endpoint_id: UUID) -> WebhookEndpoint:
    """Raises Forbidden, NotFound."""
    endpoint = webhook_list_for(user=user).filter(pk=endpoint_id).first()
    if endpoint is None:
        raise NotFound("Webhook endpoint not found.", code="webhook_not_found")
    return endpoint


def webhook_deliveries_for(*, user: User | AnonymousUser, endpoint_id: UUID) -> QuerySet[WebhookDelivery]:
    """The deliveries of the endpoint, newest first. Raises Forbidden, NotFound."""
    return webhook_get_for(user=user, endpoint_id=endpoint_id).deliveries.all()


def webhooks_failing_now() -> tuple[int, float]:
    """Number of active endpoints whose last attempt failed, and the seconds since the first of them began to fail."""
    failing = WebhookEndpoint.objects.filter(is_active=True, failing_since__isnull=False).order_by()
    found = failing.aggregate(count=Count("pk"), since=Min("failing_since"))
    return found["count"], max(0.0, (timezone.now() - found["since"]).total_seconds()) if found["since"] else 0.0


def deliveries_searched(
    deliveries: QuerySet[WebhookDelivery], text: str, some_id: UUID | None
) -> QuerySet[WebhookDelivery]:
    """For operators: by the id of a delivery, else of an event or a task; or by text in event type or error."""
    if some_id is not None:
        delivery = deliveries.filter(pk=some_id)
        return delivery if delivery.exists() else deliveries.filter(Q(event_id=str(some_id)) | Q(task_id=some_id))
    return with_each_word(deliveries, text, in_any_of("event_type", "error"))


def webhook_deliveries_waiting() -> int:
    """Number of pending deliveries to active endpoints."""
    return WebhookDelivery.objects.filter(status=DeliveryStatus.PENDING, endpoint__is_active=True).count()
