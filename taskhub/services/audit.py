"""Audit entries, written in the transaction of the change they tell of."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from taskhub.models import AuditEntry
from taskhub.services.actors import Actor


def audit_write(
    *,
    actor: Actor,
    action: str,
    task_id: UUID | None = None,
    execution_id: UUID | None = None,
    changes: dict[str, list[Any]] | None = None,
) -> None:
    """`changes` maps a field to `[before, after]`, both JSON values."""
    AuditEntry.objects.create(
        actor=actor.user,
        actor_name=actor.name,
        door=actor.door,
        action=action,
        task_id=task_id,
        execution_id=execution_id,
        changes=changes or {},
    )
