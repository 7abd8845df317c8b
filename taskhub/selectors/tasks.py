"""Tasks that a user may see, and their history."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from functools import reduce
from operator import and_, or_
from uuid import UUID

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import F, OuterRef, Q, QuerySet, Subquery, Value

from taskhub.auth.private_text import with_privacy
from taskhub.errors import NotFound
from taskhub.lib.text_folding import fold
from taskhub.models import (
    PRIORITY_RANK,
    WAITING_FOR,
    AuditEntry,
    Execution,
    ExecutionKind,
    HasTag,
    Task,
    TaskPriority,
    TaskStatus,
)
from taskhub.roles import viewer_of, visible_tasks
from taskhub.selectors.found_tasks import containing, if_few, tagged
from taskhub.selectors.words import with_each_word


def _visible_to(user: User | AnonymousUser) -> QuerySet[Task]:
    return Task.objects.filter(visible_tasks(user)).defer("folded_text")


def task_list_for(*, user: User | AnonymousUser) -> QuerySet[Task]:
    """The tasks that this user may see, with `priority_rank` for ordering (0 low, 2 high)."""
    return _visible_to(user).annotate(priority_rank=PRIORITY_RANK)


def tasks_containing(tasks: QuerySet[Task], text: str) -> QuerySet[Task]:
    """Those whose title or description holds the text, whatever its case and accents."""
    return containing(tasks, fold(text))


def tasks_searched(tasks: QuerySet[Task], text: str) -> QuerySet[Task]:
    """Those that have each word in title, description or assignee, whatever its case and accents."""
    return with_each_word(tasks, text, lambda word: Q(folded_text__contains=fold(word)) | Q(assignee__icontains=word))


def tasks_last_executed(tasks: QuerySet[Task], statuses: Collection[str]) -> QuerySet[Task]:
    """Those whose newest run has one of these statuses; a verification is none. All of them where none is named."""
    if not statuses:
        return tasks
    runs = Execution.objects.filter(kind=ExecutionKind.RUN, task=OuterRef("pk"))
    newest = runs.order_by("-queued_at", "-id").values("status")[:1]
    last = Execution.objects.filter(newest=True, kind=ExecutionKind.RUN, status__in=statuses, task__isnull=False)
    tasks = tasks.alias(last_execution=Subquery(newest))
    return if_few(tasks, Q(last_execution__in=statuses), last.values_list("task_id", flat=True))


def tasks_of_priority(tasks: QuerySet[Task], priorities: Collection[str]) -> QuerySet[Task]:
    """By the rank, as the indexes have it. All of them where none is named."""
    ranks = [rank for rank, name in enumerate(TaskPriority.values) if name in priorities]
    return tasks.alias(rank=PRIORITY_RANK).filter(rank__in=ranks) if ranks else tasks


def tasks_waiting_for(tasks: QuerySet[Task], names: Collection[str]) -> QuerySet[Task]:
    """Those that wait for one of these, names of `WAITING_FOR`."""
    condition = reduce(or_, (WAITING_FOR[name] for name in names))
    if len(names) == 1:
        return tasks.filter(condition)
    # Each kind has an index of its own.
    each = (Task.objects.filter(WAITING_FOR[name]).values_list("pk", flat=True) for name in names)
    return if_few(tasks, condition, *each)


def tasks_updated_since(tasks: QuerySet[Task], moment: datetime) -> QuerySet[Task]:
    condition = Q(updated_at__gte=moment)
    candidates = Task.objects.filter(condition, status__in=TaskStatus.values)  # the index begins with it
    return if_few(tasks, condition, candidates.values_list("pk", flat=True))


def tasks_tagged(tasks: QuerySet[Task], tags: Iterable[str]) -> QuerySet[Task]:
    """Those that have all of these tags. A text with commas is one tag, or several that are separated by them."""
    for tag in tags:
        if "," not in tag:
            tasks = tagged(tasks, tag)
            continue
        parts = (Q(HasTag(F("tags"), Value(part))) for part in tag.split(",") if part)
        tasks = tasks.filter(Q(HasTag(F("tags"), Value(tag))) | reduce(and_, parts, Q()))
    return tasks


def task_get_for(*, user: User | AnonymousUser, task_id: UUID) -> Task:
    """Raises NotFound if the task does not exist or this user may not see it."""
    try:
        return _visible_to(user).get(pk=task_id)
    except Task.DoesNotExist:
        raise _no_such_task() from None


def task_history_for(*, user: User | AnonymousUser, task_id: UUID) -> QuerySet[AuditEntry]:
    """Audit entries of the task, newest first, with `private` and `hidden`. Raises NotFound if there are none.

    Also after the task's deletion. Of an entry that is `hidden`, the user may know that it is there, and when it was
    made: it is from a time at which the task was private, and not to this user.

    The history of a deleted private task is visible to its last assignee and to operators, as the task was.
    """
    entries = AuditEntry.objects.filter(task_id=task_id)
    if not _visible_to(user).filter(pk=task_id).exists():
        end = entries.filter(action="task:delete").first()
        if end is None or not _end_is_for(user, end):
            raise _no_such_task()
    return with_privacy(entries, user)


def _end_is_for(user: User | AnonymousUser, end: AuditEntry) -> bool:
    viewer = viewer_of(user)
    if viewer is None or not end.changes.get("private", [False])[0]:
        return True
    return bool(viewer) and end.changes.get("assignee", [""])[0] == viewer


def _no_such_task() -> NotFound:
    return NotFound("Task not found.", code="task_not_found")
