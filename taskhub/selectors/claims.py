"""Claims: which leases are alive, and which one an actor holds."""

from __future__ import annotations

from uuid import UUID

from taskhub.auth.actor import Actor
from taskhub.models import Claim


def claim_held_by(actor: Actor, task_id: UUID) -> Claim | None:
    """The claim under which this actor holds the task."""
    held = Claim.objects.filter(task=task_id, ended_at__isnull=True, agent__account=actor.name)
    return held.filter(token=actor.lease).first() if actor.lease else held.filter(agent__name=actor.agent).first()


def is_living(token: str) -> bool:
    """Whether a task is held under this lease."""
    return Claim.objects.filter(token=token, ended_at__isnull=True).exists()
