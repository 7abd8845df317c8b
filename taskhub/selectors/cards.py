"""Facts of cards: ages of status and holder, whether it is stale, who asked its open question, its last run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db.models import Case, F, OuterRef, Subquery, Value, When
from django.db.models.functions import Coalesce, Concat
from django.utils import timezone

from taskhub.auth.private_text import unreadable
from taskhub.models import ACTIVE_STATUSES, AuditEntry, Claim, Execution, ExecutionKind, Note, Task
from taskhub.roles import Caller
from taskhub.selectors.stale import stale_tasks

_WITH_STATUS: Final = ("task:create", "task:update")
"""Audit actions of a task's own status; those of its executions have another field of this name."""


@dataclass(frozen=True, slots=True)
class CardFacts:
    """`held_since` is None where no agent holds the task; `last_run` is the newest run that has ended.

    `question_by` asked the open question: an account, or an agent as `Task.holder` names it; "" where none is open.
    """

    status_since: datetime
    held_since: datetime | None
    stale: bool
    question_by: str
    last_run: Execution | None


def card_facts(*, user: Caller, task_ids: Iterable[UUID]) -> dict[UUID, CardFacts]:
    """By the id of the task. The caller may see these tasks; of runs, those that this caller may read count.

    Two queries, for one page of tasks: each looks up a row for each task.
    """
    found = list(_facts(user, task_ids))
    runs = Execution.objects.only("id", "status", "exit_code", "error_code", "finished_at")
    ended = runs.in_bulk([row["run"] for row in found if row["run"] is not None])
    return {
        row["pk"]: CardFacts(row["since"], row["held"], row["is_stale"], row["asker"], ended.get(row["run"]))
        for row in found
    }


def _facts(user: Caller, task_ids: Iterable[UUID]) -> Iterable[Mapping[str, Any]]:
    entries = AuditEntry.objects.filter(task_id=OuterRef("pk"), action__in=_WITH_STATUS, changes__has_key="status")
    claims = Claim.objects.filter(task=OuterRef("pk"), ended_at__isnull=True)
    runs = Execution.objects.filter(kind=ExecutionKind.RUN, task=OuterRef("pk"))
    runs = runs.exclude(unreadable(user)).exclude(status__in=ACTIVE_STATUSES)
    asked = Note.objects.filter(pk=OuterRef("open_question")).exclude(unreadable(user))
    by = Case(When(agent="", then=F("author")), default=Concat("author", Value("/"), "agent"))
    tasks = Task.objects.filter(pk__in=list(task_ids)).annotate(
        since=Coalesce(Subquery(entries.order_by("-id").values("at")[:1]), "created_at"),
        held=Subquery(claims.values("begun_at")[:1]),
        is_stale=Case(When(stale_tasks(timezone.now()), then=Value(True)), default=Value(False)),
        asker=Coalesce(Subquery(asked.values(by=by)), Value("")),
        run=Subquery(runs.order_by("-queued_at", "-id").values("pk")[:1]),
    )
    return tasks.order_by().values("pk", "since", "held", "is_stale", "asker", "run")
