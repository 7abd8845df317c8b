"""Moves of executions, which all of their services share: the conditional UPDATE, the event, and the lease."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from django.utils import timezone

from taskhub.auth.actor import SYSTEM
from taskhub.events.publish import publish
from taskhub.events.types import ExecutionEvent
from taskhub.models import ACTIVE_STATUSES, Execution, ExecutionStatus
from taskhub.services.audit import audit_write

log = logging.getLogger(__name__)


def execution_move(execution: Execution, **changes: Any) -> bool:
    """The conditional UPDATE: only while the row is active and under the fence that the caller knows."""
    moved = Execution.objects.filter(pk=execution.pk, fence=execution.fence, status__in=ACTIVE_STATUSES).update(
        **changes
    )
    if moved != 1:
        log.info("execution %s moved on under another worker", execution.pk)
        return False
    for name, value in changes.items():
        setattr(execution, name, value)
    return True


def lease_fields(length_s: float | None) -> dict[str, Any]:
    """The fields of a lease from now on; of none, where it would end at once."""
    if not length_s:
        return {"lease_until": None, "lease_s": None}
    return {"lease_until": timezone.now() + timedelta(seconds=length_s), "lease_s": length_s}


def execution_tell(execution: Execution, step: str, *, reason: str | None = None, position: int | None = None) -> None:
    """Publish a step in the life of an execution; `step` as `ExecutionEvent` has it."""
    task = execution.task
    if task is None:
        return  # its task was deleted: no client can know it by that id
    publish(
        ExecutionEvent(
            task_id=task.pk,
            execution_event=step,
            session_name=execution.session_name,
            log_file=execution.log_file,
            execution_id=execution.pk,
            assignee=task.assignee,
            sandbox_id=execution.sandbox_id,
            command_id=execution.command_id,
            exit_code=execution.exit_code,
            error_code=execution.error_code or None,
            artifacts=None if execution.is_active else execution.artifacts_kept,
            reason=reason,
            position=position,
            kind=execution.kind,
        )
    )


def execution_run(execution: Execution, **changes: Any) -> bool:
    moved = execution_move(execution, status=ExecutionStatus.RUNNING, **changes)
    if moved:
        audit_write(actor=SYSTEM, action="execution:start", task_id=execution.task_id, execution_id=execution.pk)
        execution_tell(execution, "started")
    return moved
