"""Subscriptions that a user may see, and the watched sandboxes."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import OuterRef, QuerySet, Subquery
from django.utils import timezone

from sandboxes.models import Subscription, Watching
from sandboxes.services.subscriptions import LEASE
from taskhub.errors import NotFound
from taskhub.models import StreamProcess
from taskhub.roles import Role, role_of


def subscriptions_living() -> QuerySet[Subscription]:
    """Subscriptions whose process still reports, with `last_seen_at`: its last report."""
    reported = StreamProcess.objects.filter(name=OuterRef("process")).values("reported_at")[:1]
    now = timezone.now()
    return Subscription.objects.annotate(last_seen_at=Subquery(reported)).filter(
        last_seen_at__range=(now - LEASE, now + LEASE)
    )


def watched_ids(kind: Watching) -> list[str]:
    """The sandboxes of which this part is watched now."""
    return list(
        subscriptions_living().filter(kind=kind).order_by("sandbox_id").values_list("sandbox_id", flat=True).distinct()
    )


def subscription_list_for(*, user: User | AnonymousUser) -> QuerySet[Subscription]:
    """The user's subscriptions; all of them for operators."""
    if role_of(user) >= Role.OPERATOR:
        return subscriptions_living()
    return subscriptions_living().filter(user=user) if user.is_authenticated else subscriptions_living().none()


def subscription_get_for(*, user: User | AnonymousUser, subscription_id: UUID) -> Subscription:
    """Raises NotFound for a subscription that has ended, or that the user may not see."""
    try:
        return subscription_list_for(user=user).get(pk=subscription_id)
    except Subscription.DoesNotExist:
        raise NotFound("Subscription not found.", code="subscription_not_found") from None
