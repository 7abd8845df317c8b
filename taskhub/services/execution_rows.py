"""Rows of executions: what all of them are made with, runs and verifications alike."""

from __future__ import annotations

import uuid
from typing import Any

from taskhub.auth.actor import Actor
from taskhub.models import SESSION_PREFIX, AuditEntry, Execution, Task
from taskhub.services.audit import audit_write
from taskhub.services.dispatch import EXECUTION_START, send_job_on_commit
from taskhub.services.leases import agent_of, named_by_lease
from taskhub.services.privacy import last_entry
from taskhub.services.sandbox_sizes import size_expected


def execution_create(*, actor: Actor, task: Task, **fields: Any) -> Execution:
    """A queued execution of the locked task, in the caller's transaction; its start job is sent on commit."""
    execution_id = uuid.uuid4()
    execution: Execution = Execution.objects.create(
        id=execution_id,
        task=task,
        session_name=f"{SESSION_PREFIX}{execution_id}",
        log_file=f"logs/task-{execution_id}.log",
        agent=agent_of(named_by_lease(actor)) if actor.is_agent else None,
        **size_expected(fields.get("environment")),
        **fields,
    )
    if not execution.is_verification:
        older = Execution.objects.filter(task=task, kind=execution.kind, newest=True, queued_at__lt=execution.queued_at)
        older.update(newest=False)
    changes = {"kind": [None, str(execution.kind)]} if execution.is_verification else None
    audit_write(actor=actor, action="execution:queue", task_id=task.pk, execution_id=execution_id, changes=changes)
    if task.private:
        execution.private_entry = last_entry(AuditEntry.objects.filter(task_id=task.pk, action="execution:queue"))
        execution.save(update_fields=["private_entry"])
    send_job_on_commit(EXECUTION_START, execution_id)
    return execution
