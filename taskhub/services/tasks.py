"""Tasks: create, update, delete. Rows are locked before they are read, so concurrent writers lose no update."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import UUIDField
from django.utils import timezone

from taskhub.auth.actor import Actor
from taskhub.errors import Conflict, ExecutionEnding, Invalid, NotFound, PreconditionFailed, TransitionRefused
from taskhub.events.publish import publish, publish_numbered
from taskhub.events.types import TaskCreated, TaskDeleted, TaskUpdated
from taskhub.lib.compiled_sql import GIVEN, OneRow, update
from taskhub.models import ACTIVE_STATUSES, TRANSITIONS, Execution, Task, TaskStatus, VerifyPolicy
from taskhub.roles import sees_task, viewer_of
from taskhub.selectors.environments import environment_for_task
from taskhub.services.audit import audit_write
from taskhub.services.evidence import (
    evidence_clean,
    evidence_follow,
    evidence_guard_new,
    evidence_guard_set,
    evidence_tell,
)
from taskhub.services.leases import lease_follow, lease_guard, lease_take
from taskhub.services.order import Follow, order_lock, order_lock_if_done, order_set
from taskhub.services.privacy import privacy_follow
from taskhub.services.task_events import task_state, task_tell_ready
from taskhub.services.task_refs import refs_in_order

EDITABLE: Final = (
    *("title", "description", "status", "priority", "assignee", "tags", "artifacts", "private"),
    *("closed_as", "verify", "verify_policy", "override_reason"),
)
_PREVIOUS: Final = frozenset({"status", "priority", "assignee", "private"})
_SEARCHED: Final = frozenset({"title", "description"})
_WHO_SEES: Final = frozenset({"assignee", "private"})
_COUNTS: Final = ("attempts", "failures", "handed_over_by", "open_blockers", "open_question")
"""Fields of claims, order and questions that change with a task."""
_LOCKED: Final = OneRow(Task.objects.defer("folded_text").select_for_update().filter(pk=GIVEN), UUIDField())


@transaction.atomic
def task_create(
    *, actor: Actor, title: str, blocked_by: Collection[UUID] = (), environment: str | None = None, **fields: Any
) -> Task:
    """`fields`: any of EDITABLE, already validated. A task may start in any status. `blocked_by`: what it waits for.

    `environment`: the name of the one that its executions run in; None and "": none. Raises NotFound, Forbidden;
    Unverified for one that is done from the beginning and needs a verification.

    A private task for which an agent names no assignee is the agent's: it could not see the task otherwise.
    """
    if fields.get("private") and "assignee" not in fields and _is_agent(actor):
        fields["assignee"] = actor.name
    if blocked_by:
        order_lock()
    if fields.get("closed_as") and fields.get("status") != TaskStatus.DONE:
        raise _not_done()
    if environment:
        fields["environment"] = environment_for_task(actor=actor, named=environment)
    fields = evidence_clean(fields)
    task = Task.objects.create(title=title, created_by=actor.name, created_by_agent=actor.agent, **fields)
    evidence_guard_new(actor, task)
    after = {name: [None, value] for name, value in _said(task).items()}
    if blocked_by and (moved := order_set(actor=actor, task=task, blockers=blocked_by)):
        task.save(update_fields=["open_blockers"])
        after["blocked_by"] = [None, moved[1]]
    if task.environment_id is not None:
        after["environment"] = [None, str(task.environment_id)]
    audit_write(actor=actor, action="task:create", task_id=task.pk, changes=after)
    tell = publish_numbered if task.private else publish
    event = tell(TaskCreated(**task_state(task), description=task.description, created_at=task.created_at))
    privacy_follow(task=task, action="task:create", event=event, was_private=False, was_assignee="")
    return task


def _is_agent(actor: Actor) -> bool:
    """Bearers of a token act as agents, whatever their account may do; so does whom private tasks are hidden from."""
    return actor.user is not None and (actor.token is not None or viewer_of(actor.user) is not None)


@transaction.atomic
def tasks_create(*, actor: Actor, tasks: Sequence[dict[str, Any]]) -> list[Task]:
    """Create all of these tasks, or none. Each item has the fields that `task_create` takes.

    An item may have a `ref`, a name by which others of the list have it in their `blocked_by`; it is not stored. Those
    that are waited for are made first. Raises Invalid for an unknown ref, Cycle.
    """
    if any(fields.get("blocked_by") for fields in tasks):
        order_lock()
    made: dict[int, Task] = {}
    for n in refs_in_order(tasks):
        fields = {name: value for name, value in tasks[n].items() if name != "ref"}
        if "blocked_by" in fields:
            ids = {tasks[m]["ref"]: task.pk for m, task in made.items() if tasks[m].get("ref")}
            fields["blocked_by"] = [ids.get(each, each) for each in fields["blocked_by"]]
        made[n] = task_create(actor=actor, **fields)
    return [made[n] for n in range(len(tasks))]


@transaction.atomic
def task_update(
    *,
    actor: Actor,
    task_id: UUID,
    expected_version: int | None = None,
    blocked_by: Collection[UUID] | None = None,
    environment: str | None = None,
    **fields: Any,
) -> Task:
    """Change the given fields and no other. A call that changes nothing writes no event and no audit entry.

    `blocked_by` replaces what the task waits for, as far as the actor may see it. `environment`: as in `task_create`,
    but None and "" leave it as it is, and `none` of an operator takes it away.
    An agent whose requests claim, and that begins a task which no other agent holds, takes its lease.

    Raises NotFound; Forbidden; PreconditionFailed if the row is no longer at `expected_version`; TransitionRefused;
    Invalid; Cycle; LeaseLost; Held; Unverified where `done` needs a verification, which `override_reason` of an
    operator spares.
    """
    if blocked_by is not None or "closed_as" in fields or fields.get("status") == TaskStatus.DONE:
        order_lock()
    elif "status" in fields:
        order_lock_if_done(task_id)
    task = task_lock(actor, task_id)
    claim = lease_guard(actor, task)
    _guard_version(task, expected_version)
    if environment:
        fields["environment"] = environment_for_task(actor=actor, named=environment)
    fields = evidence_clean(fields)
    evidence_guard_set(actor, task, fields)
    if claim is None and fields.get("status") == TaskStatus.INPROGRESS:
        fields |= task_take(actor, task)
    task_apply(actor=actor, task=task, fields=fields, blocked_by=blocked_by)
    return task


def task_take(actor: Actor, task: Task) -> dict[str, Any]:
    """The fields that change where beginning work on the locked task claims it, and no other agent holds it.

    Raises Conflict for a task that no agent may claim.
    """
    if not actor.is_agent or not actor.claims or task.holder:
        return {}
    _, fields = lease_take(actor, task)
    return {**fields, **({} if task.assignee else {"assignee": actor.name})}


@transaction.atomic
def task_delete(*, actor: Actor, task_id: UUID, expected_version: int | None = None) -> None:
    """Raises NotFound; PreconditionFailed; LeaseLost; Held; Conflict while the task is being executed."""
    order_lock()
    task = task_lock(actor, task_id)
    lease_guard(actor, task)
    _guard_version(task, expected_version)
    active = task.executions.filter(status__in=ACTIVE_STATUSES).defer("script", "env").first()
    if active is not None:
        guard_ending(active)
        raise Conflict("The task is being executed; stop the execution first.", code="execution_active")
    assignee, private = task.assignee, task.private
    before = {name: [value, None] for name, value in _said(task).items()}
    if private:
        task.executions.update(was_private=True)
    follow = Follow(task)
    task.delete()
    follow.settle(None)
    audit_write(actor=actor, action="task:delete", task_id=task_id, changes=before)
    publish(TaskDeleted(task_id=task_id, assignee=assignee, private=private))
    follow.tell()


def _said(task: Task) -> dict[str, Any]:
    """The fields that say something, for the history."""
    said = {name: value for name in EDITABLE if (value := getattr(task, name))}
    return {name: value for name, value in said.items() if (name, value) != ("verify_policy", VerifyPolicy.OFF)}


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


def task_apply(
    *,
    actor: Actor,
    task: Task,
    fields: dict[str, Any],
    reason: str | None = None,
    blocked_by: Collection[UUID] | None = None,
) -> None:
    """Apply the change to a locked row; shared by all services that change a task.

    `reason`: why the service itself makes it. `blocked_by` replaces the blockers.
    """
    was_ready = task.ready
    fields = _with_consequences(actor, task, fields)
    changes = {name: [getattr(task, name), value] for name, value in fields.items() if getattr(task, name) != value}
    follow = Follow(task) if _opens_or_closes(changes) else None
    for name, (_, value) in changes.items():
        setattr(task, name, value)
    changes = evidence_follow(actor, task, changes)
    names = tuple(changes)
    if "environment" in changes:
        # By its id: not every reader of the history may know its name.
        changes["environment"] = [each and str(each.pk) for each in changes["environment"]]
    if blocked_by is not None and (moved := order_set(actor=actor, task=task, blockers=blocked_by)):
        changes["blocked_by"] = moved
    if not changes:
        return
    task.changed = tuple(sorted(changes))
    if follow is not None:
        follow.settle(task)
    task.version += 1
    folded = ("folded_text",) if _SEARCHED & changes.keys() else ()
    update(task, (*names, *folded, *_COUNTS, "version", "updated_at"))
    _tell(actor, task, changes, reason)
    if task.ready and not was_ready:
        task_tell_ready(task)
    if follow is not None:
        follow.tell()


def _with_consequences(actor: Actor, task: Task, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, and those that change with them. Raises TransitionRefused, Invalid."""
    status = fields.get("status", task.status)
    if status != task.status:
        _guard_transition(task.status, status)
    if status == TaskStatus.DONE:
        task.open_question = None  # its answer changes nothing any more
    else:
        if fields.get("closed_as"):
            raise _not_done()
        if task.closed_as:
            fields = {**fields, "closed_as": ""}
    return {**fields, **lease_follow(actor, task, fields)}


def _not_done() -> Invalid:
    return Invalid("Only a task that is done has closed_as.", details={"closed_as": ["Set the status to done."]})


def _opens_or_closes(changes: dict[str, list[Any]]) -> bool:
    """Whether what waits for the task may be concerned."""
    return "closed_as" in changes or TaskStatus.DONE in changes.get("status", ())


def _tell(actor: Actor, task: Task, changes: dict[str, list[Any]], reason: str | None) -> None:
    """Audit, event, and who may read it."""
    told_why = {"reason": [None, reason]} if reason else {}
    audit_write(actor=actor, action="task:update", task_id=task.pk, changes=changes | told_why)
    told = {"description", *(_WHO_SEES if task.private or "private" in changes else ())}
    # Who could read the task is written down by numbers of events.
    moves_readers = bool(_WHO_SEES & changes.keys()) and (task.private or "private" in changes)
    event = (publish_numbered if moves_readers else publish)(
        TaskUpdated(
            **task_state(task),
            changed=sorted(changes),
            previous={name: changes[name][0] for name in sorted(_PREVIOUS & changes.keys())},
            # Also for those who see the task from now on.
            description=task.description if told & changes.keys() else None,
            reason=reason,
        )
    )
    if "verified" in changes:
        evidence_tell(task)
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
