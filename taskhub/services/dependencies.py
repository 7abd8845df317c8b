"""Waivers: a person decides that a blocker which came to nothing holds a task up no longer."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from taskhub.auth.actor import Actor
from taskhub.errors import Conflict, NotFound
from taskhub.models import Task
from taskhub.roles import visible_tasks
from taskhub.services.audit import audit_write
from taskhub.services.order import count_open, order_lock
from taskhub.services.task_events import task_tell_ready
from taskhub.services.tasks import task_lock


@transaction.atomic
def dependency_waive(*, actor: Actor, task_id: UUID, blocker_id: UUID) -> Task:
    """Let the task go on although this blocker is done with `closed_as`; a second call changes nothing.

    Raises Conflict for an agent, and for a blocker that is not closed so (`blocker_not_closed`); NotFound for the task,
    and where the blocker is none of it that the actor may see.
    """
    if actor.is_agent:
        raise Conflict("Only people waive a blocker; ask one.", code="people_only")
    order_lock()
    task = task_lock(actor, task_id)
    blockers = task.dependencies.filter(visible_tasks(actor.user, prefix="blocker__"))
    dependency = blockers.select_related("blocker").filter(blocker=blocker_id).first()
    if dependency is None:
        raise NotFound("The task does not wait for this one.", code="blocker_not_found")
    if dependency.waived_by:
        return task
    if not dependency.blocker.closed_as:
        raise Conflict(
            "Only a blocker that was closed without a result is waived; this one may still be done.",
            code="blocker_not_closed",
            details={"status": dependency.blocker.status},
        )
    was_ready = task.ready
    dependency.waived_by = actor.name
    dependency.save(update_fields=["waived_by"])
    task.open_blockers = count_open(task)
    task.save(update_fields=["open_blockers"])
    changes = {"blocker": [None, str(blocker_id)]}
    audit_write(actor=actor, action="task:waive", task_id=task_id, changes=changes)
    if task.ready and not was_ready:
        task_tell_ready(task)
    return task
