"""Notes that a user may read."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import QuerySet

from taskhub.auth.private_text import unreadable
from taskhub.models import Note
from taskhub.selectors.tasks import task_get_for


def notes_for(*, user: User | AnonymousUser, task_id: UUID) -> QuerySet[Note]:
    """The notes on the task, the newest first; those of a private time for those who could read it then.

    Raises NotFound for the task.
    """
    return task_get_for(user=user, task_id=task_id).notes.exclude(unreadable(user)).order_by("-id")
