"""Executions of tasks that a user may see."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import QuerySet

from taskhub.auth.private_text import unreadable_executions, visible_executions
from taskhub.errors import NotFound
from taskhub.models import Execution
from taskhub.selectors.tasks import task_get_for


def execution_get_for(*, user: User | AnonymousUser, task_id: UUID, execution_id: UUID | None = None) -> Execution:
    """An execution of the task, by default the newest; without its script and environment.

    Raises NotFound for the task, for the execution, or if the task was never executed.
    """
    task = task_get_for(user=user, task_id=task_id)
    executions = task.executions.exclude(unreadable_executions(user)).defer("script", "env")
    executions = executions.order_by("-queued_at", "-id")
    if execution_id is not None:
        executions = executions.filter(pk=execution_id)
    execution = executions.first()
    if execution is None:
        raise NotFound("The task has no such execution.", code="execution_not_found")
    return execution


def execution_list_for(*, user: User | AnonymousUser) -> QuerySet[Execution]:
    """The executions of all tasks that this user may see, without scripts and environments.

    One that ran while its task was private is for those who could read it then, also once the task is public.
    """
    found = Execution.objects.filter(visible_executions(user), task__isnull=False)
    return found.defer("script", "env")


def execution_find_for(*, user: User | AnonymousUser, execution_id: UUID) -> Execution:
    """An execution by its id alone. Raises NotFound, also if its task was deleted or the user may not see it."""
    try:
        return execution_list_for(user=user).get(pk=execution_id)
    except Execution.DoesNotExist:
        raise NotFound("Execution not found.", code="execution_not_found") from None


def execution_with_script_for(*, user: User | AnonymousUser, execution_id: UUID) -> Execution:
    """Likewise, with its script. Raises NotFound."""
    try:
        return execution_list_for(user=user).defer(None).defer("env").get(pk=execution_id)
    except Execution.DoesNotExist:
        raise NotFound("Execution not found.", code="execution_not_found") from None


def task_executions_for(*, user: User | AnonymousUser, task_id: UUID) -> QuerySet[Execution]:
    """The executions of the task. Raises NotFound for the task."""
    return execution_list_for(user=user).filter(task=task_get_for(user=user, task_id=task_id))
