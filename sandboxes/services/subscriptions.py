"""Subscriptions: opened, counted and closed in batches by the process that holds the streams."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import BigIntegerField, Case, F, Value, When
from django.utils import timezone

from sandboxes.models import Subscription
from taskhub.auth.actor import Actor
from taskhub.errors import NotFound
from taskhub.lib import awake
from taskhub.models import StreamProcess
from taskhub.services.audit import audit_write

LEASE: Final = timedelta(seconds=30)


def subscriptions_save(*, opened: Sequence[Subscription], closed: Collection[UUID]) -> None:
    """Store the streams that opened and closed since the last call."""
    if opened:
        _leave_out_deleted_accounts(opened)
        Subscription.objects.bulk_create(opened, ignore_conflicts=True)
        awake.note(awake.SUBSCRIPTIONS)  # their polls begin
    if closed:
        Subscription.objects.filter(pk__in=closed).delete()


def _leave_out_deleted_accounts(subscriptions: Sequence[Subscription]) -> None:
    """An account may be deleted while its stream is open: its row would fail the whole batch."""
    accounts = set(User.objects.filter(pk__in={each.user_id for each in subscriptions}).values_list("pk", flat=True))
    for subscription in subscriptions:
        if subscription.user_id not in accounts:
            subscription.user = None


def subscriptions_count(*, events: dict[UUID, int]) -> None:
    """Write the number of events sent to each stream, in one statement."""
    if events:
        cases = [When(pk=subscription_id, then=Value(count)) for subscription_id, count in events.items()]
        counted = Case(*cases, default=F("events"), output_field=BigIntegerField())
        Subscription.objects.filter(pk__in=events).update(events=counted)


def subscription_request_disconnect(*, actor: Actor, subscription: Subscription) -> None:
    """Ask the process that holds the stream to close it; it checks every 2 s. Raises NotFound if it has closed."""
    now = timezone.now()
    asked = Subscription.objects.filter(pk=subscription.pk).update(disconnect_requested_at=now)
    if not asked:
        raise NotFound("The subscription has ended.", code="subscription_not_found")
    audit_write(actor=actor, action="subscription:disconnect", sandbox_id=subscription.sandbox_id)


def subscriptions_drop_orphans() -> int:
    """Delete subscriptions whose process has not reported for the lease time; returns their number."""
    living = StreamProcess.objects.all().not_dead(LEASE)
    deleted, _ = Subscription.objects.exclude(process__in=living).delete()
    return deleted
