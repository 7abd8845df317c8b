"""Claims: an agent takes a task under a lease, gives it back, or loses it when the lease runs out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet, Value
from django.utils import timezone

from taskhub.auth.actor import SYSTEM, Actor
from taskhub.errors import Conflict
from taskhub.lib.leases import watch
from taskhub.models import (
    CLAIMABLE,
    OFFERED_TO,
    PRIORITY_RANK,
    Claim,
    ClaimEnd,
    HasTag,
    Task,
    TaskPriority,
    TaskStatus,
)
from taskhub.roles import visible_tasks
from taskhub.selectors.claims import claim_held_by, is_kept
from taskhub.services.leases import (
    agent_of,
    claim_of,
    count_anew,
    guard_claimable,
    guard_unpaused,
    lease_end,
    lease_guard,
    lease_renew,
    lease_take,
    unassigned,
)
from taskhub.services.tasks import task_apply, task_lock

log = logging.getLogger(__name__)

LEASE_EXPIRED: Final = "lease_expired"
_GIVEN_BACK: Final = (ClaimEnd.RELEASED, ClaimEnd.FAILED)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A task, and the claim under which its agent holds it; None for a person's."""

    task: Task
    claim: Claim | None


@transaction.atomic
def task_claim(
    *,
    actor: Actor,
    task_id: UUID | None = None,
    priority: Sequence[str] = (),
    tags: Sequence[str] = (),
    lease_s: int | None = None,
) -> Claimed | None:
    """Assign the actor's next task and set it `inprogress`: highest priority first, then oldest; None if none is free.

    An agent gets a lease of `lease_s` seconds. A task is free if it is ready (`READY`) and unassigned, assigned to the
    actor's account, or sent back from review. What was sent back to this agent comes first; what it gave back
    itself comes last. `priority`: one of these; `tags`: all of these. With `task_id` only that task, also repeatedly:
    its holder gets a new lease, and the former one is dead. Concurrent claims never get the same task: PostgreSQL skips
    rows that others have locked, SQLite runs one write transaction at a time.

    Raises Conflict (`paused`) for an agent; with `task_id` also NotFound, Held, and Conflict (`task_not_claimable`,
    `held_back`, `blocked`).
    """
    task = task_lock(actor, task_id) if task_id is not None else _next_free(actor, priority, tags)
    if task is None:
        guard_unpaused(actor)  # for a task that is free, `lease_take` does
        return None
    if actor.is_agent and task.holder:
        return Claimed(task, lease_take(actor, task, lease_s)[0])
    _guard_free(actor, task)
    guard_claimable(actor, task)
    claim, fields = lease_take(actor, task, lease_s) if actor.is_agent else (None, {})
    begun = {"status": TaskStatus.INPROGRESS.value, "assignee": actor.name}
    task_apply(actor=actor, task=task, fields={**begun, **fields})
    return Claimed(task, claim)


def _guard_free(actor: Actor, task: Task) -> None:
    """Raises Conflict for a task that is another account's, or that is not waiting to be begun."""
    if task.status == TaskStatus.INPROGRESS and task.assignee == actor.name:
        return
    is_sent_back = task.handed_over_by_id is not None
    if task.status == TaskStatus.TODO and (is_sent_back or task.assignee in {"", actor.name}):
        return
    raise Conflict(
        f"The task is {task.status}{f' and assigned to {task.assignee}' if task.assignee else ''}; claim another.",
        code="task_not_claimable",
        details={"status": task.status, "assignee": task.assignee},
    )


def _next_free(actor: Actor, priority: Sequence[str], tags: Sequence[str]) -> Task | None:
    free = Task.objects.filter(visible_tasks(actor.user), CLAIMABLE)
    if priority:
        free = free.filter(priority__in=priority)
    for tag in tags:
        free = free.filter(HasTag(F("tags"), Value(tag)))
    if not actor.is_agent:
        return _first_offered(free, actor.name)
    agent = agent_of(actor)
    given_back = Exists(Claim.objects.filter(task=OuterRef("pk"), agent=agent, end__in=_GIVEN_BACK))
    return (
        _first(free.filter(handed_over_by=agent))
        or _first_offered(free.exclude(given_back), actor.name)
        or _first_offered(free, actor.name)
    )


def _first_offered(free: QuerySet[Task], account: str) -> Task | None:
    """Of those that are offered to all, and to this account alone: two statements, each of which walks an index."""
    free = free.alias(offered_to=OFFERED_TO)
    found = [task for name in ("", account) if (task := _first(free.filter(offered_to=name))) is not None]
    return min(found, key=_turn, default=None)


def _turn(task: Task) -> tuple[int, datetime, str]:
    return -TaskPriority.values.index(task.priority), task.created_at, task.pk.hex


def _first(free: QuerySet[Task]) -> Task | None:
    return (
        free.defer("folded_text")
        .order_by(PRIORITY_RANK.desc(), "created_at", "id")
        .select_for_update(skip_locked=True)
        .first()
    )


@transaction.atomic
def task_release(*, actor: Actor, task_id: UUID) -> Task:
    """Give the task back: `todo`, unassigned. A person also lets a task go that is held back.

    Raises NotFound; LeaseLost; Held; Conflict (`not_held`) where there is nothing to release.
    """
    task = task_lock(actor, task_id)
    lease_guard(actor, task)
    if not task.holder and not (task.held_back and not actor.is_agent):
        raise Conflict("No agent holds this task, and it is not held back.", code="not_held")
    fields = {} if task.holder else count_anew(task)
    if task.holder or task.status == TaskStatus.INPROGRESS:  # or no agent could claim it
        fields |= {"status": TaskStatus.TODO.value, **unassigned(task, unless={})}
    task_apply(actor=actor, task=task, fields=fields)
    return task


def claim_touch(*, actor: Actor, task_id: UUID) -> None:
    """A call of the task's holder that changes nothing: it renews the lease where that is due.

    Without a transaction, which would make each reading call a writer on SQLite.
    """
    if not actor.is_agent:
        return
    claim = claim_held_by(actor, task_id)
    if claim is not None:
        lease_renew(claim)


def claims_are_held() -> bool:
    """Whether any lease may run out."""
    return Claim.objects.filter(ended_at__isnull=True).exists()


def claims_expire() -> list[UUID]:
    """Take back the tasks whose leases have run out; their ids.

    A lease does not run out while its task is executed, nor while a question of its holder is open.

    Judged by what this process has seen of the row on its monotonic clock, for the time that was left when it saw it
    first; for the whole lease, if no time was left by a clock that may have been set.
    """
    now = timezone.now()
    claims = list(Claim.objects.filter(ended_at__isnull=True).annotate(is_kept=is_kept(now)).order_by("expires_at"))
    # All are seen before the first is taken back: that takes a while, which would be added to the time of the others.
    past = [claim for claim in claims if not claim.is_kept and _is_past(claim, now)]
    expired = [claim.task_id for claim in past if _expire(claim)]
    for task_id in expired:
        log.info("the lease on task %s has run out", task_id)
    for claim in claims:
        if claim.is_kept:
            lease_renew(claim)
    return expired


def _is_past(claim: Claim, now: datetime) -> bool:
    left_s = (claim.expires_at - now).total_seconds()
    length_s = left_s if 0 < left_s < claim.lease_s else claim.lease_s
    return watch.lease_is_past(("claim", claim.pk), claim.expires_at, length_s)


@transaction.atomic
def _expire(seen: Claim) -> bool:
    """False where the holder has renewed its lease, or the task moved on, since it was looked at."""
    task = Task.objects.select_for_update().defer("folded_text").filter(pk=seen.task_id).first()
    claim = claim_of(task) if task is not None else None
    if task is None or claim is None or (claim.pk, claim.expires_at) != (seen.pk, seen.expires_at):
        return False
    if Claim.objects.filter(is_kept(timezone.now()), pk=claim.pk).exists():
        return False
    fields = {"status": TaskStatus.TODO.value, **unassigned(task, unless={}), **lease_end(task, ClaimEnd.LOST)}
    task_apply(actor=SYSTEM, task=task, fields=fields, reason=LEASE_EXPIRED)
    return True
