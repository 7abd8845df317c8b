"""Visibility of events: the private tasks and their assignees, against which a feed filters events.

A feed reads them once and then follows the events of tasks, which have the order of the commits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from uuid import UUID

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from taskhub.events.frames import Frame
from taskhub.models import AuditEntry, Task


def read_owners(among: Collection[UUID] | None = None) -> dict[str, str]:
    """The assignee of every private task, and of deleted tasks that were private while events of them are kept.
    `among`: only of these."""
    kept = Q() if among is None else Q(task_id__in=among)
    gone = AuditEntry.objects.filter(
        kept, action="task:delete", at__gt=timezone.now() - settings.TASKHUB_EVENTS_KEEP, changes__private__isnull=False
    )
    owners = {
        str(task_id): changes.get("assignee", [""])[0] for task_id, changes in gone.values_list("task_id", "changes")
    }
    private = Task.objects.filter(Q() if among is None else Q(pk__in=among), private=True)
    owners |= {str(pk): assignee for pk, assignee in private.values_list("pk", "assignee")}
    return owners


def note_owners(owners: dict[str, str], frames: Iterable[Frame]) -> None:
    """Apply these frames to `owners`. A deleted private task stays private."""
    for frame in frames:
        if frame.private:
            # The first is the current assignee, a second one the previous assignee.
            owners[frame.task_id] = frame.assignees[0] if frame.assignees else ""
        elif frame.private is not None and frame.task_id in owners:
            del owners[frame.task_id]
