"""What a task waits for, as far as a user may see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import OuterRef, Subquery

from taskhub.auth.private_text import unreadable
from taskhub.models import Dependency, Note, NoteKind, Task
from taskhub.roles import sees_task


@dataclass(frozen=True, slots=True)
class Blockers:
    """`hidden` counts those that the user may not see."""

    visible: Sequence[Dependency]
    hidden: int


def blockers_for(*, user: User | AnonymousUser, task: Task) -> Blockers:
    """The task's blockers, the oldest first."""
    results = Note.objects.filter(task=OuterRef("blocker"), kind=NoteKind.RESULT).exclude(unreadable(user))
    rows = task.dependencies.select_related("blocker").defer("blocker__description", "blocker__folded_text")
    rows = rows.annotate(result=Subquery(results.order_by("-id").values("text")[:1]))
    found = list(rows.order_by("blocker__created_at", "blocker_id"))
    visible = [row for row in found if sees_task(user, private=row.blocker.private, assignee=row.blocker.assignee)]
    return Blockers(visible, len(found) - len(visible))
