"""Private text: conditions on what was made while a task was private, for operators and those who could read it then.

Whether the caller may see the task itself now (`visible_tasks`) comes first; these conditions come on top of it, so
text that was private stays so after its task has become public.
"""

from __future__ import annotations

from django.db.models import BooleanField, Exists, ExpressionWrapper, F, OuterRef, Q, QuerySet, Value

from taskhub.models import AuditEntry, Execution, PrivateReader
from taskhub.roles import Caller, viewer_of, visible_tasks


def readers_at(entry: str, *, task: str = "task_id") -> QuerySet[PrivateReader]:
    """The readers of the outer row's task at the audit entry that its column `entry` names."""
    return PrivateReader.objects.filter(_at(OuterRef(entry)), task_id=OuterRef(task))


def _at(entry: int | OuterRef) -> Q:
    """Condition on readers: they were that at this audit entry."""
    return Q(Q(until_entry=None) | Q(until_entry__gte=entry), since_entry__lte=entry)


def was_reader(account: str, execution: Execution) -> bool:
    """Whether the account of this name could read the execution when it ran; one that was not private is for all."""
    at = execution.private_entry
    if at is None:
        return True
    if execution.task_id is None or not account:
        return False
    return PrivateReader.objects.filter(_at(at), task_id=execution.task_id, account=account).exists()


def unreadable(caller: Caller | None) -> Q:
    """Condition on executions, and on notes, that were private and that the caller could not read then."""
    viewer = viewer_of(caller)
    if viewer is None:
        return Q(pk__in=[])
    private = Q(private_entry__isnull=False)
    return private & ~Q(Exists(readers_at("private_entry").filter(account=viewer))) if viewer else private


def visible_executions(caller: Caller | None) -> Q:
    """Condition on executions, of tasks that exist, which the caller may see."""
    return visible_tasks(caller, prefix="task__") & ~unreadable(caller)


def with_privacy(entries: QuerySet[AuditEntry], caller: Caller | None) -> QuerySet[AuditEntry]:
    """Audit entries of tasks with `private`, made while the task was private, and `hidden`, that from this caller."""
    viewer = viewer_of(caller)
    entries = entries.annotate(private=Exists(readers_at("pk")))
    if viewer is None:
        return entries.annotate(hidden=Value(False))
    if not viewer:
        return entries.annotate(hidden=F("private"))
    unread = Q(private=True) & ~Q(Exists(readers_at("pk").filter(account=viewer)))
    return entries.annotate(hidden=ExpressionWrapper(unread, BooleanField()))
