"""Counts for the admin's dashboard: sandboxes, subscriptions, polls."""

from __future__ import annotations

from django.db.models import Count

from sandboxes.models import Poll, Sandbox
from sandboxes.selectors.subscriptions import subscriptions_living


def sandboxes_by_state() -> dict[str, int]:
    """Number of recently watched sandboxes by state, as last reported by Daytona."""
    return dict(Sandbox.objects.order_by("state").values_list("state").annotate(count=Count("pk")))


def subscriptions_by_kind() -> dict[str, int]:
    """Number of open streams of `/sse`."""
    return dict(subscriptions_living().order_by("kind").values_list("kind").annotate(count=Count("pk")))


def polls() -> list[Poll]:
    """Results of the last ticks; polls run while there are viewers."""
    return list(Poll.objects.order_by("name"))
