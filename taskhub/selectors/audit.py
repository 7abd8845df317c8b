"""Audit entries by what they are about, for operators; and what the history of a task says of other tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final
from uuid import UUID

from django.db.models import Q, QuerySet

from taskhub.models import AuditEntry, Task
from taskhub.roles import Caller, viewer_of, visible_tasks
from taskhub.selectors.words import in_any_of, with_each_word

HIDDEN_TASK: Final = "hidden"
"""In the place of the id of a blocker that the reader may not see, or that is not there any more."""
_NAMES_TASKS: Final = ("blocked_by", "blocker")
"""Changes that hold ids of other tasks."""


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


def hide_blockers(user: Caller, entries: Sequence[AuditEntry]) -> None:
    """Replace the ids of blockers that the user may not see, in the changes of these entries, which are not saved."""
    if viewer_of(user) is None:
        return
    named = {pk for entry in entries for pk in _tasks_named(entry.changes)}
    seen = set(map(str, Task.objects.filter(visible_tasks(user), pk__in=named).values_list("pk", flat=True)))
    for entry in entries:
        for name in _NAMES_TASKS:
            if name in entry.changes:
                entry.changes = {**entry.changes, name: [_shown(value, seen) for value in entry.changes[name]]}


def _tasks_named(changes: dict[str, Any]) -> Iterator[str]:
    for value in (value for name in _NAMES_TASKS for value in changes.get(name, ())):
        yield from value if isinstance(value, list) else filter(None, [value])


def _shown(value: Any, seen: set[str]) -> Any:
    if isinstance(value, list):
        return [_shown(each, seen) for each in value]
    return value if value is None or value in seen else HIDDEN_TASK
