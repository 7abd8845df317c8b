"""What the admin's first page tells of sandboxes, of those who watch them, and of the polls."""

from __future__ import annotations

from django.db.models import Count

from sandboxes.models import Poll, Sandbox
from sandboxes.selectors.subscriptions import subscriptions_living


def sandboxes_by_state() -> dict[str, int]:
    """How many of the sandboxes that were watched lately are in which state, as Daytona last told."""
    return dict(Sandbox.objects.order_by("state").values_list("state").annotate(count=Count("pk")))


def subscriptions_by_kind() -> dict[str, int]:
    """How many streams of `/sse` are open now."""
    return dict(subscriptions_living().order_by("kind").values_list("kind").annotate(count=Count("pk")))


def polls() -> list[Poll]:
    """How the polls went at their last tick; they tick while somebody watches."""
    return list(Poll.objects.order_by("name"))
