"""Sandbox access: which sandboxes a caller may see, and execute in.

A sandbox is identified by its id. A sandbox that the hub creates also has a name, derived from its execution: the
name is known before the sandbox exists, the id only once the script runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from django.db.models import Q, QuerySet

from taskhub.auth.private_text import unreadable
from taskhub.errors import Forbidden, NotFound
from taskhub.models import Execution, Task
from taskhub.models.prepared_snapshot import PREPARING_PREFIX
from taskhub.roles import Caller, viewer_of, visible_tasks

_MADE: Final = re.compile(r"taskhub-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\Z")


def executed_in(names: Iterable[str]) -> QuerySet[Execution]:
    """The executions in the sandboxes of these ids and names."""
    names = list(names)
    made = [found[1] for name in names if (found := _MADE.match(name))]
    return Execution.objects.filter(Q(sandbox_id__in=names) | Q(pk__in=made))


def tasks_executed_in(names: Iterable[str]) -> list[str]:
    """The ids of the existing tasks that were executed there."""
    found = executed_in(names).filter(task__isnull=False).order_by("task_id")
    return [str(task_id) for task_id in found.values_list("task_id", flat=True).distinct()]


def hidden_sandboxes(*, user: Caller | None, names: Iterable[str]) -> set[str]:
    """Ids and names of the given sandboxes in which a task was executed that this caller may not see.

    Where it was executed while it was private, what it left there stays with those who could read it then.
    A private task stays private after its deletion: its sandboxes are then visible to operators only. So are, by their
    names, those in which the hub runs an environment's prepare: what is done there comes to all its executions.
    """
    if viewer_of(user) is None:
        return set()
    names = list(names)
    preparing = {name for name in names if name.startswith(PREPARING_PREFIX)}
    theirs = Task.objects.filter(private=True).exclude(visible_tasks(user))
    found = executed_in(names).filter(Q(task__in=theirs) | Q(task=None, was_private=True) | unreadable(user))
    return preparing | {name for place in found.values_list("sandbox_id", "session_name") for name in place if name}


def guard_sandbox(*, user: Caller | None, task: Task, sandbox_id: str, is_missing: bool = False) -> None:
    """Check that this caller may have the task executed in this existing sandbox.

    Raises NotFound if there is none, or it is hidden from the caller; Forbidden if the hub created it for another task.
    Operators may use any sandbox.
    """
    if is_missing or hidden_sandboxes(user=user, names=[sandbox_id]):
        raise NotFound("Sandbox not found.", code="sandbox_not_found")
    if viewer_of(user) is None:
        return
    if executed_in([sandbox_id]).filter(requested_sandbox_id="").exclude(task=task).exists():
        raise Forbidden("The sandbox was made for another task.", code="sandbox_of_another_task")
