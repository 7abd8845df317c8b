"""Audit entries, written in the transaction of the change."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from taskhub.auth.actor import Actor
from taskhub.lib.compiled_sql import insert
from taskhub.models import AuditEntry


def audit_write(
    *,
    actor: Actor,
    action: str,
    task_id: UUID | None = None,
    execution_id: UUID | None = None,
    sandbox_id: str = "",
    subject: str = "",
    changes: dict[str, list[Any]] | None = None,
) -> None:
    """`changes` maps a field to `[before, after]`, both JSON values; `subject` is an object other than these ids."""
    insert(
        AuditEntry(
            actor=actor.user,
            actor_name=actor.name,
            door=actor.door,
            token_id=actor.token.public_id if actor.token else None,
            token_name=actor.token.name if actor.token else "",
            agent=actor.agent,
            action=action,
            task_id=task_id,
            execution_id=execution_id,
            sandbox_id=sandbox_id,
            subject=subject,
            changes=changes or {},
        )
    )
