"""Rows of executions: how one is made, moved on under its fence, and the events that tell how it stands."""

from __future__ import annotations

import logging
import secrets
import uuid
from typing import Any

from taskhub.auth.actor import Actor
from taskhub.events.publish import publish
from taskhub.events.types import ExecutionEvent
from taskhub.models import ACTIVE_STATUSES, SESSION_PREFIX, AuditEntry, Execution, Task
from taskhub.services.audit import audit_write
from taskhub.services.dispatch import EXECUTION_START, send_job_on_commit
from taskhub.services.privacy import last_entry

log = logging.getLogger(__name__)


def execution_create(*, actor: Actor, task: Task, **fields: Any) -> Execution:
    """A queued execution of the locked task, in the caller's transaction; its start job is sent on commit."""
    execution_id = uuid.uuid4()
    execution: Execution = Execution.objects.create(
        id=execution_id,
        task=task,
        session_name=f"{SESSION_PREFIX}{execution_id}",
        log_file=f"logs/task-{execution_id}.log",
        log_token=secrets.token_hex(32),
        **fields,
    )
    changes = {"kind": [None, str(execution.kind)]} if execution.is_verification else None
    audit_write(actor=actor, action="execution:queue", task_id=task.pk, execution_id=execution_id, changes=changes)
    if task.private:
        execution.private_entry = last_entry(AuditEntry.objects.filter(task_id=task.pk, action="execution:queue"))
        execution.save(update_fields=["private_entry"])
    send_job_on_commit(EXECUTION_START, execution_id)
    return execution


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
