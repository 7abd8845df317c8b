"""Daytona's webhooks: each counts once, however often it is sent."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.db import transaction

from sandboxes.models import DaytonaWebhook, Sandbox
from sandboxes.services.sandbox_state import sandboxes_observe

_STATE_UPDATED: Final = "sandbox.state.updated"


@transaction.atomic
def webhook_take(*, delivery_id: str, body: dict[str, Any]) -> None:
    """Take a delivery that is new: a change of state of a sandbox we know is published.

    Raises redis.RedisError, and has then taken nothing: its sender tries again.
    """
    _, is_new = DaytonaWebhook.objects.get_or_create(pk=delivery_id[:200])
    if not is_new or body.get("event") != _STATE_UPDATED:
        return
    sandbox = Sandbox.objects.filter(pk=str(body.get("id", ""))).first()
    if sandbox is None:
        return  # nobody has ever watched it
    # It tells the state alone; the rest is as it was.
    document = {**sandbox.document, "state": str(body.get("newState", "unknown"))}
    if body.get("updatedAt"):
        document["updatedAt"] = str(body["updatedAt"])
    sandboxes_observe(documents=[document], source="push")


def webhooks_forget(*, before: datetime) -> None:
    """Deliveries that are too old to be taken again."""
    DaytonaWebhook.objects.filter(received_at__lt=before).delete()
