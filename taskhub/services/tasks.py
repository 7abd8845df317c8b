"""Tasks: create, update, delete. A row is locked before it is read, so two writers at once never lose an update."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.db import transaction

from taskhub.errors import Conflict, NotFound, PreconditionFailed, TransitionRefused
from taskhub.events.publish import publish
from taskhub.events.types import TaskCreated, TaskDeleted, TaskUpdated
from taskhub.models import ACTIVE_STATUSES, TRANSITIONS, Task, TaskStatus
from taskhub.services.actors import Actor
from taskhub.services.audit import audit_write

EDITABLE: Final = ("title", "description", "status", "priority", "assignee", "tags", "artifacts")
_PREVIOUS: Final = frozenset({"status", "priority", "assignee"})


def _state(task: Task) -> dict[str, Any]:
    """The fields that task_created and task_updated share."""
    return {
        "task_id": task.pk,
        "status": task.status,
        "priority": task.priority,
        "assignee": task.assignee,
        "artifacts": task.artifacts,
        "title": task.title,
        "tags": task.tags,
        "version": task.version,
        "updated_at": task.updated_at,
    }


@transaction.atomic
def task_create(*, actor: Actor, title: str, **fields: Any) -> Task:
    """`fields`: any of EDITABLE, already validated. A task may begin in any status."""
    task = Task.objects.create(title=title, **fields)
    after = {name: [None, getattr(task, name)] for name in EDITABLE if getattr(task, name)}
    audit_write(actor=actor, action="task:create", task_id=task.pk, changes=after)
    publish(TaskCreated(**_state(task), description=task.description, created_at=task.created_at))
    return task


@transaction.atomic
def task_update(*, actor: Actor, task_id: UUID, expected_version: int | None = None, **fields: Any) -> Task:
    """Change the given fields and no other. A call that changes nothing leaves no trace.

    Raises NotFound; PreconditionFailed if the row is no longer at `expected_version`; TransitionRefused.
    """
    task = task_lock(task_id)
    _guard_version(task, expected_version)
    task_apply(actor=actor, task=task, fields=fields)
    return task


@transaction.atomic
def task_delete(*, actor: Actor, task_id: UUID, expected_version: int | None = None) -> None:
    """Raises NotFound; PreconditionFailed; Conflict while the task is being executed."""
    task = task_lock(task_id)
    _guard_version(task, expected_version)
    if task.executions.filter(status__in=ACTIVE_STATUSES).exists():
        raise Conflict("The task is being executed; stop the execution first.", code="execution_active")
    assignee = task.assignee
    before = {name: [getattr(task, name), None] for name in EDITABLE if getattr(task, name)}
    task.delete()
    audit_write(actor=actor, action="task:delete", task_id=task_id, changes=before)
    publish(TaskDeleted(task_id=task_id, assignee=assignee))


def task_lock(task_id: UUID) -> Task:
    """The row, locked until the transaction ends. Raises NotFound."""
    try:
        return Task.objects.select_for_update().get(pk=task_id)
    except Task.DoesNotExist:
        raise NotFound("There is no such task.", code="task_not_found") from None


def task_apply(*, actor: Actor, task: Task, fields: dict[str, Any]) -> None:
    """The change itself, on a locked row; shared by every service that changes a task."""
    changes = {name: [getattr(task, name), value] for name, value in fields.items() if getattr(task, name) != value}
    if not changes:
        return
    if "status" in changes:
        _guard_transition(*changes["status"])
    for name, (_, value) in changes.items():
        setattr(task, name, value)
    task.version += 1
    task.save(update_fields=[*changes, "version", "updated_at"])
    audit_write(actor=actor, action="task:update", task_id=task.pk, changes=changes)
    publish(
        TaskUpdated(
            **_state(task),
            changed=sorted(changes),
            previous={name: changes[name][0] for name in sorted(_PREVIOUS & changes.keys())},
            description=task.description if "description" in changes else None,
        )
    )


def _guard_version(task: Task, expected: int | None) -> None:
    if expected is not None and task.version != expected:
        raise PreconditionFailed(
            f"The task is at version {task.version} now; read it again and repeat the change.",
            details={"version": task.version},
        )


def _guard_transition(before: str, after: str) -> None:
    allowed = TRANSITIONS[TaskStatus(before)]
    if after in allowed:
        return
    # In the order of the board, not of a set.
    names = [status.value for status in TaskStatus if status in allowed]
    raise TransitionRefused(
        f"A task that is {before} cannot become {after}; it may become {', '.join(names)}.",
        details={"status": before, "new_status": after, "allowed": names},
    )
