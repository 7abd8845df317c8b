"""Tasks, their history and who may see them."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Case, IntegerField, QuerySet, Value, When

from taskhub.errors import NotFound
from taskhub.models import AuditEntry, Task, TaskPriority

_RANK = Case(
    *(When(priority=priority, then=Value(rank)) for rank, priority in enumerate(TaskPriority.values)),
    output_field=IntegerField(),
)


def _visible_to(user: User | AnonymousUser) -> QuerySet[Task]:  # noqa: ARG001 - every reader sees every task
    return Task.objects.all()


def task_list_for(*, user: User | AnonymousUser) -> QuerySet[Task]:
    """The tasks this user may see, with `priority_rank` to order by (0 low, 2 high)."""
    return _visible_to(user).annotate(priority_rank=_RANK)


def task_get_for(*, user: User | AnonymousUser, task_id: UUID) -> Task:
    """Raises NotFound for a task that is not there, or not for this user."""
    try:
        return _visible_to(user).get(pk=task_id)
    except Task.DoesNotExist:
        raise NotFound("There is no such task.", code="task_not_found") from None


def task_history_for(*, user: User | AnonymousUser, task_id: UUID) -> QuerySet[AuditEntry]:
    """What happened to the task, newest first; also after it was deleted. Raises NotFound if nothing ever did."""
    entries = AuditEntry.objects.filter(task_id=task_id)
    if not entries.exists():
        task_get_for(user=user, task_id=task_id)
    return entries
