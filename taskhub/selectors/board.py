"""The board: conditions of its states, counts of its columns, and what needs the caller."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import Case, Count, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum, TextField, Value, When
from django.db.models.functions import Cast
from django.utils import timezone

from taskhub.auth.private_text import unreadable
from taskhub.lib.text_folding import fold
from taskhub.models import (
    ACTIVE_STATUSES,
    READY,
    UNSUCCESSFUL,
    WAITING_FOR,
    Execution,
    ExecutionKind,
    ExecutionStatus,
    StartAwaits,
    Task,
    TaskStatus,
)
from taskhub.roles import Caller
from taskhub.selectors.stale import stale_tasks
from taskhub.selectors.words import with_each_word

BOARD_STATES: Final = {
    "ready": "Ready",
    "blocked": "Blocked",
    "waiting": "Waiting",
    "running": "Running",
    "failed": "Failed",
    "question": "Question",
    "held": "Held back",
    "stale": "Stale",
}
"""Filters of the board by state, and their labels; `static/taskhub/card-state.js` says it of a task that changes."""
NAMES_MOST: Final = 200
"""Assignees and tags that the filters offer."""
_TAG_LISTS_MOST: Final = 500
_WAITS: Final = (Q(status=ExecutionStatus.QUEUED) & ~Q(waiting_reason="")) | Q(
    status=ExecutionStatus.STARTING, waiting_reason__in=StartAwaits.values
)


@dataclass(frozen=True, slots=True)
class BoardCounts:
    """`totals` by status, `states` by name: of all tasks on the board that the caller may see.

    `accounts`: the active ones, for callers that have one.
    """

    totals: dict[str, int]
    states: dict[str, int]
    assignees: list[str]
    accounts: list[str]
    tags: list[str]


def board_tasks(tasks: QuerySet[Task], caller: Caller, *, old: bool) -> QuerySet[Task]:
    """Of these, those on the board; `old` also those that have left it: done, unchanged for long."""
    runs = Execution.objects.filter(kind=ExecutionKind.RUN, task=OuterRef("pk"))
    ended = runs.exclude(unreadable(caller)).exclude(status__in=ACTIVE_STATUSES).order_by("-queued_at", "-id")
    tasks = tasks.alias(last_ended=Subquery(ended.values("status")[:1]))
    days = settings.TASKHUB_BOARD_DONE_DAYS
    if old or not days:
        return tasks
    return tasks.filter(~Q(status=TaskStatus.DONE) | Q(updated_at__gte=timezone.now() - timedelta(days=days)))


def board_states(caller: Caller, now: datetime) -> dict[str, Q]:
    """Conditions on `board_tasks`, by the names of `BOARD_STATES`."""
    active = Execution.objects.filter(task=OuterRef("pk"), status__in=ACTIVE_STATUSES).exclude(unreadable(caller))
    idle = ~Q(Exists(active))
    return {
        "ready": READY & idle,
        "blocked": Q(open_blockers__gt=0) & ~Q(status=TaskStatus.DONE),
        "waiting": Q(Exists(active.filter(_WAITS))),
        "running": Q(Exists(active.exclude(_WAITS))),
        "failed": idle & Q(last_ended__in=UNSUCCESSFUL),
        "question": WAITING_FOR["answer"],
        "held": Q(held_back=True),
        "stale": stale_tasks(now) & idle,
    }


def board_in_states(tasks: QuerySet[Task], caller: Caller, names: list[str]) -> QuerySet[Task]:
    """Those of `board_tasks` in one of these states; all of them where none is named."""
    conditions = board_states(caller, timezone.now())
    return tasks.filter(reduce(or_, (conditions[name] for name in names), Q())) if names else tasks


def board_searched(tasks: QuerySet[Task], text: str) -> QuerySet[Task]:
    """Those that have each word in title, description, assignee, tags or id, whatever its case; of texts, accents."""

    def holds(word: str) -> Q:
        # SQLite keeps tags as JSON in ASCII, and ids without hyphens.
        in_tags = Q(tag_text__icontains=word) | Q(tag_text__icontains=json.dumps(word)[1:-1])
        in_id = Q(id_text__icontains=word) | Q(id_text__icontains=word.replace("-", "") or word)
        return Q(folded_text__contains=fold(word)) | Q(assignee__icontains=word) | in_tags | in_id

    tasks = tasks.alias(tag_text=Cast(F("tags"), TextField()), id_text=Cast(F("pk"), TextField()))
    return with_each_word(tasks, text, holds)


def board_needs(tasks: QuerySet[Task], caller: Caller) -> QuerySet[Task]:
    """Those of `board_tasks` that need the caller, who made them or is their assignee: the longest waiting first.

    A question that the caller asked itself waits for others.
    """
    name = caller.get_username()
    if not name:
        return tasks.none()
    mine = Q(assignee=name) | Q(created_by=name)
    failed = board_states(caller, timezone.now())["failed"] & ~Q(status=TaskStatus.DONE)
    by_others = ~Q(open_question__author=name) | ~Q(open_question__agent="")
    waits = [condition & by_others if what == "answer" else condition for what, condition in WAITING_FOR.items()]
    return tasks.filter(mine, reduce(or_, waits, failed)).order_by("updated_at", "id")


def board_counts(tasks: QuerySet[Task], caller: Caller) -> BoardCounts:
    """Of `board_tasks`."""
    tasks = tasks.order_by()
    conditions = board_states(caller, timezone.now())
    is_in = {
        f"in_{name}": Case(When(condition, then=Value(1)), default=Value(0)) for name, condition in conditions.items()
    }
    counted = tasks.annotate(**is_in).aggregate(**{f"count_{name}": Sum(f"in_{name}") for name in conditions})
    names = tasks.exclude(assignee="").values_list("assignee", flat=True).distinct().order_by("assignee")
    return BoardCounts(
        totals=status_counts(tasks),
        states={name: counted[f"count_{name}"] or 0 for name in conditions},
        assignees=list(names[:NAMES_MOST]),
        accounts=_accounts(caller),
        tags=_tags(tasks),
    )


def status_counts(tasks: QuerySet[Task]) -> dict[str, int]:
    rows: Any = tasks.order_by().values_list("status").annotate(count=Count("pk"))
    return dict(rows)


def _accounts(caller: Caller) -> list[str]:
    """Those that may have tasks, for callers with an account of their own. Empty where they are too many to name."""
    if not caller.get_username():
        return []
    found = User.objects.filter(is_active=True).order_by("username").values_list("username", flat=True)
    names = list(found[: NAMES_MOST + 1])
    return names if len(names) <= NAMES_MOST else []


def _tags(tasks: QuerySet[Task]) -> list[str]:
    """The most common ones, by their names; of so many different lists of tags as are looked at."""
    lists: Any = tasks.exclude(tags=[]).values_list("tags").annotate(count=Count("pk")).order_by("-count")
    counts: Counter[str] = Counter()
    for tags, count in lists[:_TAG_LISTS_MOST]:
        for tag in tags:
            counts[str(tag)] += count
    return sorted(tag for tag, _ in counts.most_common(NAMES_MOST))
