"""Audit entries by what they are about, for operators."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Q, QuerySet

from taskhub.models import AuditEntry
from taskhub.selectors.words import in_any_of, with_each_word


def is_task_audited(some_id: UUID) -> bool:
    """Whether it is the id of a task that has entries."""
    return AuditEntry.objects.filter(task_id=some_id).exists()


def entries_of_id(entries: QuerySet[AuditEntry], some_id: UUID) -> QuerySet[AuditEntry]:
    """Those of the task, for which there is an index; where it is no task, those of the execution or token."""
    if is_task_audited(some_id):
        return entries.filter(task_id=some_id)
    return entries.filter(Q(execution_id=some_id) | Q(token_id=some_id))


def entries_searched(entries: QuerySet[AuditEntry], text: str) -> QuerySet[AuditEntry]:
    """Those that have each word in the name of the actor or the token, in the sandbox's id or the other subject."""
    return with_each_word(entries, text, in_any_of("actor_name", "token_name", "sandbox_id", "subject"))
