"""Claims: which leases are alive, and which one an actor holds."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet

from taskhub.auth.actor import Actor
from taskhub.models import ACTIVE_STATUSES, Claim, Execution, ExecutionKind, Note
from taskhub.selectors.words import in_any_of, with_each_word


def claim_held_by(actor: Actor, task_id: UUID) -> Claim | None:
    """The claim under which this actor holds the task."""
    held = Claim.objects.filter(task=task_id, ended_at__isnull=True, agent__account=actor.name)
    return held.filter(token=actor.lease).first() if actor.lease else held.filter(agent__name=actor.agent).first()


def is_living(token: str) -> bool:
    """Whether a task is held under this lease."""
    return Claim.objects.filter(token=token, ended_at__isnull=True).exists()


def is_kept(now: datetime) -> Q:
    """Condition on claims whose leases do not run out: the task is executed, or a question of its holder is open."""
    asked = Note.objects.filter(
        asked_by=OuterRef("task"),
        author=OuterRef("agent__account"),
        agent=OuterRef("agent__name"),
        at__gt=now - timedelta(seconds=settings.TASKHUB_QUESTION_KEEPS_S),
    )
    runs = Execution.objects.filter(kind=ExecutionKind.RUN, task=OuterRef("task"), status__in=ACTIVE_STATUSES)
    return Exists(runs) | Exists(asked)


def claims_searched(claims: QuerySet[Claim], text: str, task_id: UUID | None) -> QuerySet[Claim]:
    """For operators: those of the task, or those that have each word in the task's title or the agent's names."""
    if task_id is not None:
        return claims.filter(task=task_id)
    return with_each_word(claims, text, in_any_of("task__title", "agent__account", "agent__name"))
