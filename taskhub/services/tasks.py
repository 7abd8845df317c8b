"""Tasks: create, update, claim, delete. Rows are locked before they are read, so concurrent writers lose no update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import F, UUIDField, Value
from django.utils import timezone

from taskhub.auth.actor import Actor
from taskhub.errors import Conflict, ExecutionEnding, NotFound, PreconditionFailed, TransitionRefused
from taskhub.events.publish import publish
from taskhub.events.types import TaskCreated, TaskDeleted, TaskUpdated
from taskhub.lib.compiled_sql import GIVEN, OneRow, update
from taskhub.models import ACTIVE_STATUSES, PRIORITY_RANK, TRANSITIONS, Execution, HasTag, Task, TaskStatus
from taskhub.roles import sees_task, viewer_of, visible_tasks
from taskhub.services.audit import audit_write
from taskhub.services.privacy import privacy_follow

EDITABLE: Final = ("title", "description", "status", "priority", "assignee", "tags", "artifacts", "private")
_PREVIOUS: Final = frozenset({"status", "priority", "assignee", "private"})
_SEARCHED: Final = frozenset({"title", "description"})
_WHO_SEES: Final = frozenset({"assignee", "private"})
_LOCKED: Final = OneRow(Task.objects.defer("folded_text").select_for_update().filter(pk=GIVEN), UUIDField())


def _state(task: Task) -> dict[str, Any]:
    """The fields that task_created and task_updated share."""
    return {
        "task_id": task.pk,
        "status": task.status,
        "priority": task.priority,
        "assignee": task.assignee,
        "private": task.private,
        "artifacts": task.artifacts,
        "title": task.title,
        "tags": task.tags,
        "version": task.version,
        "updated_at": task.updated_at,
    }


@transaction.atomic
def task_create(*, actor: Actor, title: str, **fields: Any) -> Task:
    """`fields`: any of EDITABLE, already validated. A task may start in any status.

    A private task for which an agent names no assignee is the agent's: it could not see the task otherwise.
    """
    if fields.get("private") and "assignee" not in fields and _is_agent(actor):
        fields["assignee"] = actor.name
    task = Task.objects.create(title=title, **fields)
    after = {name: [None, getattr(task, name)] for name in EDITABLE if getattr(task, name)}
    audit_write(actor=actor, action="task:create", task_id=task.pk, changes=after)
    event = publish(TaskCreated(**_state(task), description=task.description, created_at=task.created_at))
    privacy_follow(task=task, action="task:create", event=event, was_private=False, was_assignee="")
    return task


def _is_agent(actor: Actor) -> bool:
    """Bearers of a token act as agents, whatever their account may do; so does whom private tasks are hidden from."""
    return actor.user is not None and (actor.token is not None or viewer_of(actor.user) is not None)


@transaction.atomic
def tasks_create(*, actor: Actor, tasks: Sequence[dict[str, Any]]) -> list[Task]:
    """Create all of these tasks, or none. Each item has the fields that `task_create` takes."""
    return [task_create(actor=actor, **fields) for fields in tasks]


@transaction.atomic
def task_update(*, actor: Actor, task_id: UUID, expected_version: int | None = None, **fields: Any) -> Task:
    """Change the given fields and no other. A call that changes nothing writes no event and no audit entry.

    Raises NotFound; PreconditionFailed if the row is no longer at `expected_version`; TransitionRefused.
    """
    task = task_lock(actor, task_id)
    _guard_version(task, expected_version)
    task_apply(actor=actor, task=task, fields=fields)
    return task


@transaction.atomic
def task_claim(
    *, actor: Actor, task_id: UUID | None = None, priority: Sequence[str] = (), tags: Sequence[str] = ()
) -> Task | None:
    """Assign the actor's next task and set it `inprogress`: highest priority first, then oldest; None if none is free.

    A task is free if it is `todo` and unassigned or assigned to the actor. `priority`: one of these; `tags`: all of
    these. With `task_id` only that task, also repeatedly. Concurrent claims never get the same task: PostgreSQL skips
    rows that others have locked, SQLite runs one write transaction at a time.

    Raises NotFound, and Conflict (`task_not_claimable`), both for `task_id` alone.
    """
    task = task_lock(actor, task_id) if task_id is not None else _next_free(actor, priority, tags)
    if task is None:
        return None
    if task.status == TaskStatus.INPROGRESS and task.assignee == actor.name:
        return task
    if task.status != TaskStatus.TODO or task.assignee not in {"", actor.name}:
        raise Conflict(
            f"The task is {task.status}{f' and assigned to {task.assignee}' if task.assignee else ''}; claim another.",
            code="task_not_claimable",
            details={"status": task.status, "assignee": task.assignee},
        )
    task_apply(actor=actor, task=task, fields={"status": TaskStatus.INPROGRESS.value, "assignee": actor.name})
    return task


def _next_free(actor: Actor, priority: Sequence[str], tags: Sequence[str]) -> Task | None:
    free = Task.objects.filter(visible_tasks(actor.user), status=TaskStatus.TODO, assignee__in=["", actor.name])
    if priority:
        free = free.filter(priority__in=priority)
    for tag in tags:
        free = free.filter(HasTag(F("tags"), Value(tag)))
    return (
        free.defer("folded_text")
        .order_by(PRIORITY_RANK.desc(), "created_at", "id")
        .select_for_update(skip_locked=True)
        .first()
    )


@transaction.atomic
def task_delete(*, actor: Actor, task_id: UUID, expected_version: int | None = None) -> None:
    """Raises NotFound; PreconditionFailed; Conflict while the task is being executed."""
    task = task_lock(actor, task_id)
    _guard_version(task, expected_version)
    active = task.executions.filter(status__in=ACTIVE_STATUSES).defer("script", "env").first()
    if active is not None:
        guard_ending(active)
        raise Conflict("The task is being executed; stop the execution first.", code="execution_active")
    assignee, private = task.assignee, task.private
    before = {name: [getattr(task, name), None] for name in EDITABLE if getattr(task, name)}
    if private:
        task.executions.update(was_private=True)
    task.delete()
    audit_write(actor=actor, action="task:delete", task_id=task_id, changes=before)
    publish(TaskDeleted(task_id=task_id, assignee=assignee, private=private))


def guard_ending(active: Execution) -> None:
    """Raises ExecutionEnding where the task's active execution is being ended."""
    if active.shown_ending is not None:
        raise ExecutionEnding(str(active.pk), retry_after_s=active.ending_left_s(timezone.now()))


def task_lock(actor: Actor, task_id: UUID) -> Task:
    """The row, locked until the transaction ends. Raises NotFound, also if the actor may not see it."""
    task = _LOCKED.find(task_id)
    if task is None or not sees_task(actor.user, private=task.private, assignee=task.assignee):
        raise NotFound("Task not found.", code="task_not_found")
    return task


def task_apply(*, actor: Actor, task: Task, fields: dict[str, Any]) -> None:
    """Apply the change to a locked row; shared by all services that change a task."""
    changes = {name: [getattr(task, name), value] for name, value in fields.items() if getattr(task, name) != value}
    if not changes:
        return
    if "status" in changes:
        _guard_transition(*changes["status"])
    for name, (_, value) in changes.items():
        setattr(task, name, value)
    task.version += 1
    folded = ("folded_text",) if _SEARCHED & changes.keys() else ()
    update(task, (*changes, *folded, "version", "updated_at"))
    audit_write(actor=actor, action="task:update", task_id=task.pk, changes=changes)
    told = {"description", *(_WHO_SEES if task.private or "private" in changes else ())}
    event = publish(
        TaskUpdated(
            **_state(task),
            changed=sorted(changes),
            previous={name: changes[name][0] for name in sorted(_PREVIOUS & changes.keys())},
            # Also for those who see the task from now on.
            description=task.description if told & changes.keys() else None,
        )
    )
    if _WHO_SEES & changes.keys():
        was_private, was_assignee = (changes.get(name, [getattr(task, name)])[0] for name in ("private", "assignee"))
        privacy_follow(task=task, action="task:update", event=event, was_private=was_private, was_assignee=was_assignee)


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
    # In the order of the board; sets have no order.
    names = [status.value for status in TaskStatus if status in allowed]
    raise TransitionRefused(
        f"A task that is {before} cannot become {after}; it may become {', '.join(names)}.",
        details={"status": before, "new_status": after, "allowed": names},
    )
