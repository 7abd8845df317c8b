"""Daytona's webhooks: each counts once, even if it is sent repeatedly."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.db import transaction

from sandboxes.models import DaytonaWebhook, Sandbox
from sandboxes.services.sandbox_state import sandboxes_observe

_STATE_UPDATED: Final = "sandbox.state.updated"


@transaction.atomic
def webhook_take(*, delivery_id: str, body: dict[str, Any]) -> None:
    """Process a new webhook: a state change of a known sandbox is published.

    Raises redis.RedisError, and has then stored nothing, so the sender's retry counts.
    """
    _, is_new = DaytonaWebhook.objects.get_or_create(pk=delivery_id[:200])
    if not is_new or body.get("event") != _STATE_UPDATED:
        return
    sandbox = Sandbox.objects.filter(pk=str(body.get("id", ""))).first()
    if sandbox is None:
        return  # the sandbox was never watched
    # The webhook has only the state; the other fields stay as they were.
    document = {**sandbox.document, "state": str(body.get("newState", "unknown"))}
    if body.get("updatedAt"):
        document["updatedAt"] = str(body["updatedAt"])
    sandboxes_observe(documents=[document], source="push")


def webhooks_forget(*, before: datetime) -> None:
    """Delete ids of webhooks that are too old to be accepted again."""
    DaytonaWebhook.objects.filter(received_at__lt=before).delete()
