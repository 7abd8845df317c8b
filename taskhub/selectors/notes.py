"""Notes that a user may read."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import QuerySet

from taskhub.auth.private_text import unreadable
from taskhub.models import Note, Task
from taskhub.selectors.tasks import task_get_for


def notes_of(*, user: User | AnonymousUser, task: Task) -> QuerySet[Note]:
    """The notes on a task that the user sees, the newest first; those of a private time for those who could read it
    then."""
    return task.notes.exclude(unreadable(user)).order_by("-id")


def last_notes(*, user: User | AnonymousUser, task: Task, most: int) -> list[Note]:
    """The newest `most` of them, and behind these the open question where it is older: it is what is to be answered."""
    found = list(notes_of(user=user, task=task)[:most])
    asked = task.open_question_id
    if asked is not None and all(note.pk != asked for note in found):
        found += notes_of(user=user, task=task).filter(pk=asked)
    return found


def notes_for(*, user: User | AnonymousUser, task_id: UUID) -> QuerySet[Note]:
    """Likewise by the task's id. Raises NotFound for the task."""
    return notes_of(user=user, task=task_get_for(user=user, task_id=task_id))
