"""Privacy of a task: who could read it while it was private is written down in the transaction of each change."""

from __future__ import annotations

from django.db.models import QuerySet

from taskhub.models import ACTIVE_STATUSES, NO_ENTRY, AuditEntry, PrivateReader, Task


def privacy_follow(*, task: Task, action: str, event: int, was_private: bool, was_assignee: str) -> None:
    """Write down who can read the task from here on, where that has changed and it is or was private.

    The caller holds the task's lock and has just written the audit entry `action` and the event of this number. An
    execution that is active at that moment becomes private with the task: what it wrote before, too.
    """
    if not (task.private or was_private):
        return
    entry = last_entry(AuditEntry.objects.filter(task_id=task.pk, action=action))
    known = PrivateReader.objects.filter(task_id=task.pk, until_entry=None).last() if was_private else None
    if was_private and known is None:
        # Made private by a release that did not write this down: nothing of before becomes public.
        known = PrivateReader(task_id=task.pk, account=was_assignee, since_entry=NO_ENTRY, since_event=NO_ENTRY)
    if known is not None:
        # The change that makes it public holds private text, too: what was in the fields before.
        known.until_entry, known.until_event = (entry - 1, event - 1) if task.private else (entry, event)
        known.save()
    if task.private:
        PrivateReader.objects.create(
            task_id=task.pk,
            account=task.assignee,
            since_entry=known.since_entry if known else entry,
            since_event=known.since_event if known else event,
        )
        task.executions.filter(status__in=ACTIVE_STATUSES).update(private_entry=entry)


def last_entry(entries: QuerySet[AuditEntry]) -> int:
    """The id of the newest of these, which the caller has just written under the task's lock."""
    return int(entries.order_by("-id").values_list("id", flat=True)[0])
