"""Leases of claims: begin, renew, end, and the guard that every change of a task passes.

All of these run in the transaction of a service that has locked the task's row, so a claim has one writer at a time.
They write the claim and set the task's fields; the caller applies those with the change that they belong to.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.utils import timezone

from taskhub.auth.actor import Actor
from taskhub.errors import Conflict, Held, LeaseLost
from taskhub.lib.leases import watch
from taskhub.lib.timestamps import iso
from taskhub.models import (
    UNSUCCESSFUL,
    Agent,
    Claim,
    ClaimEnd,
    Execution,
    ExecutionKind,
    Task,
    TaskStatus,
)
from taskhub.models.claim import agent_title
from taskhub.roles import Role, role_of
from taskhub.selectors.admission import pause_of
from taskhub.services.audit import audit_write
from taskhub.services.order import blocked_error

SEEN_EVERY: Final = timedelta(minutes=1)
RENEWED_AFTER: Final = 1 / 3
"""The part of a lease that is used up before a call of its holder writes it anew."""
PAUSED: Final = "paused"
"""Code of the conflict while operators keep agents from new work."""
LEASE_LEAST_S: Final = 10
LEASE_MOST_S: Final = 86_400
_HANDED_OVER: Final = frozenset({TaskStatus.REVIEW, TaskStatus.DONE})
_LOST: Final = frozenset({ClaimEnd.LOST, ClaimEnd.TAKEN})
"""After these its agent is told at its next call, until it claims the task again."""


def claim_of(task: Task) -> Claim | None:
    """The claim under which the task is held."""
    return task.claims.select_related("agent").filter(ended_at__isnull=True).first()


def agent_of(actor: Actor) -> Agent:
    """The actor's row, which is written at most once a minute."""
    now = timezone.now()
    token_id = actor.token.public_id if actor.token else None
    agent, made = Agent.objects.get_or_create(
        account=actor.name, name=actor.agent, defaults={"token_id": token_id, "last_seen_at": now}
    )
    if not made and abs(now - agent.last_seen_at) >= SEEN_EVERY:
        agent.token_id, agent.last_seen_at = token_id, now
        agent.save(update_fields=["token_id", "last_seen_at"])
    return agent


def lease_guard(actor: Actor, task: Task) -> Claim | None:
    """The actor's own claim on the locked task, renewed; None where it holds none and may go on.

    People and the service itself are not bound. Raises LeaseLost for a wrong or old lease, and for an agent whose claim
    on this task was lost; Held for the claim of another agent.
    """
    if not actor.is_agent:
        return None
    held = claim_of(task) if task.holder else None
    if actor.lease:
        if held is None or held.token != actor.lease or held.agent.account != actor.name:
            raise _lease_lost(task, Claim.objects.filter(token=actor.lease, agent__account=actor.name).first())
    elif held is None or (held.agent.account, held.agent.name) != (actor.name, actor.agent):
        _guard_last_claim(actor, task)
        if held is not None:
            _guard_held(actor, task, held)
        return None
    lease_renew(held)
    agent_of(replace(actor, agent_name=held.agent.name))  # a call that shows only its lease has no name
    return held


def named_by_lease(actor: Actor) -> Actor:
    """The actor under the name of the agent whose lease it shows, whatever `as` the call has.

    Without it, a question of an agent that shows only its lease would not be its own, and the lease would run out.
    """
    shown = Claim.objects.filter(token=actor.lease, agent__account=actor.name) if actor.lease else Claim.objects.none()
    claim = shown.select_related("agent").first()
    return actor if claim is None else replace(actor, agent_name=claim.agent.name)


def _guard_last_claim(actor: Actor, task: Task) -> None:
    last = task.claims.filter(agent__account=actor.name, agent__name=actor.agent).order_by("-id").first()
    if last is not None and last.end in _LOST and not _overrides(actor):
        raise _lease_lost(task, last)


def _guard_held(actor: Actor, task: Task, held: Claim) -> None:
    """Raises Held, unless this agent made the task, an operator's token forces the change, or a setting opens all."""
    if settings.TASKHUB_OPEN_CHANGES:
        return
    if not (_made(actor, task) or _overrides(actor)):
        raise _held(held)
    changes = {"holder": [str(held.agent), str(held.agent)]}
    audit_write(actor=actor, action="claim:override", task_id=held.task_id, changes=changes)


def _made(actor: Actor, task: Task) -> bool:
    return (task.created_by, task.created_by_agent) == (actor.name, actor.agent)


def _overrides(actor: Actor) -> bool:
    return actor.force and actor.user is not None and role_of(actor.user) >= Role.OPERATOR


def _lease_lost(task: Task, claim: Claim | None) -> LeaseLost:
    details: dict[str, Any] = {"status": task.status, "assignee": task.assignee}
    if claim is not None and claim.end:
        details["reason"] = claim.end
    if claim is not None and claim.ended_by:
        details["by"] = claim.ended_by
    if task.holder:
        details["holder"] = task.holder
    return LeaseLost(
        "This lease on the task has ended, or its agent has claimed the task anew; claim it again to go on with it.",
        details=details,
    )


def _held(claim: Claim) -> Held:
    holder = str(claim.agent)
    return Held(
        f"{holder} holds this task; take another. Its maker, or an operator's token with force, may change it.",
        details={"holder": holder, "expires_at": iso(claim.expires_at)},
    )


def lease_renew(claim: Claim) -> bool:
    """Let the lease begin anew where a third of it is used up; no event and no version tell it.

    A wall clock that was set back leaves more time than there was; and by the monotonic clock the third may be over
    before that clock says so.
    """
    left_s = (claim.expires_at - timezone.now()).total_seconds()
    fresh = (1 - RENEWED_AFTER) * claim.lease_s < left_s <= claim.lease_s
    if fresh and not watch.lease_is_past(("renewal", claim.pk), claim.expires_at, RENEWED_AFTER * claim.lease_s):
        return False
    return lease_begin_anew(claim)


def lease_begin_anew(claim: Claim) -> bool:
    """False where the claim has ended meanwhile."""
    claim.expires_at = timezone.now() + timedelta(seconds=claim.lease_s)
    return bool(Claim.objects.filter(pk=claim.pk, ended_at__isnull=True).update(expires_at=claim.expires_at))


def lease_after_run(execution: Execution) -> None:
    """The lease did not run out while the task was being executed; now it begins anew."""
    claim = Claim.objects.filter(task=execution.task_id, ended_at__isnull=True).first()
    if claim is not None:
        lease_begin_anew(claim)


def lease_take(actor: Actor, task: Task, lease_s: int | None = None) -> tuple[Claim, dict[str, Any]]:
    """A claim for this agent on the locked task, and the task's fields that change with it.

    Its holder gets a new token, and the old one is dead. Raises Held; Conflict for a task that no agent may claim, or
    none at present.
    """
    held = claim_of(task) if task.holder else None
    agent = agent_of(named_by_lease(actor) if held is not None else actor)
    length_s = lease_s or settings.TASKHUB_LEASE_S
    expires_at = timezone.now() + timedelta(seconds=length_s)
    if held is not None:
        if held.agent_id != agent.pk:
            raise _held(held)
        held.token, held.lease_s, held.expires_at = _new_token(), length_s, expires_at
        held.save(update_fields=["token", "lease_s", "expires_at"])
        return held, {}
    guard_unpaused(actor)
    guard_claimable(actor, task)
    task.attempts += 1
    task.handed_over_by = None
    claim = Claim.objects.create(
        task=task, agent=agent, token=_new_token(), lease_s=length_s, expires_at=expires_at, attempt=task.attempts
    )
    return claim, {"holder": str(agent)}


def guard_unpaused(actor: Actor) -> None:
    """Raises Conflict (`paused`) while operators keep this account's agents from new work."""
    rule = pause_of(actor.name) if actor.is_agent else None
    if rule is None:
        return
    until = iso(rule.paused_until) if rule.paused_until else None
    when = f"until {until}" if until else "until an operator ends the pause"
    raise Conflict(
        f"New work is paused for {rule} {when}; go on with what you hold.",
        code=PAUSED,
        details={"paused_until": until},
    )


def guard_claimable(actor: Actor, task: Task) -> None:
    """Raises Conflict (`held_back`, `blocked`)."""
    if task.open_blockers:
        raise blocked_error(actor, task)
    if task.held_back:
        raise Conflict(
            f"{task.failures} attempts at this task were lost or failed; a person must release it first.",
            code="held_back",
        )


def _new_token() -> str:
    return secrets.token_urlsafe(24)


def lease_end(task: Task, end: ClaimEnd, *, by: str = "") -> dict[str, Any]:
    """End the claim on the locked task, if there is one; the task's fields that change with it."""
    claim = claim_of(task)
    if claim is None:
        return {"holder": ""}
    if end == ClaimEnd.RELEASED and _had_failures(claim):
        end = ClaimEnd.FAILED
    claim.end, claim.ended_by, claim.ended_at = end, by, timezone.now()
    claim.save(update_fields=["end", "ended_by", "ended_at"])
    if end in {ClaimEnd.LOST, ClaimEnd.FAILED}:
        task.failures += 1
    if end == ClaimEnd.HANDED_OVER:
        task.handed_over_by = claim.agent
    holds_back = task.failures >= settings.TASKHUB_ATTEMPTS
    return {"holder": "", **({"held_back": True} if holds_back else {})}


def _had_failures(claim: Claim) -> bool:
    runs = claim.task.executions.filter(kind=ExecutionKind.RUN, queued_at__gte=claim.begun_at)
    return runs.filter(status__in=UNSUCCESSFUL).exists()


def count_anew(task: Task) -> dict[str, Any]:
    """Attempts are counted from zero again, and nothing holds the task back."""
    task.attempts = task.failures = 0
    return {"held_back": False}


def lease_follow(actor: Actor, task: Task, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that change with these, where a change of status or assignee ends the claim or begins the count anew.

    An agent's own move to `todo` releases the task, one to `review` or `done` hands it over; whatever status or
    assignee a person sets ends the claim.
    """
    if "holder" in fields:
        return {}
    status = fields.get("status", task.status)
    moves, assigns = status != task.status, fields.get("assignee", task.assignee) != task.assignee
    if assigns:
        task.handed_over_by = None
    more: dict[str, Any] = {}
    if task.holder and (moves or assigns):
        more = _end_by(actor, task, status, fields)
    if (moves and status in _HANDED_OVER) or (_is_person(actor) and (moves or assigns)):
        more |= count_anew(task)
    return more


def _end_by(actor: Actor, task: Task, status: str, fields: dict[str, Any]) -> dict[str, Any]:
    if _is_person(actor):
        return lease_end(task, ClaimEnd.TAKEN, by=actor.name)
    if status == TaskStatus.INPROGRESS:
        return {}
    if not holds(actor, task):
        return lease_end(task, ClaimEnd.TAKEN, by=actor.name)
    if status != TaskStatus.TODO:
        return lease_end(task, ClaimEnd.HANDED_OVER)
    return {**unassigned(task, unless=fields), **lease_end(task, ClaimEnd.RELEASED)}


def unassigned(task: Task, *, unless: dict[str, Any]) -> dict[str, Any]:
    """A claim has assigned the task to the agent's account; a private one must keep it, or no agent sees the task."""
    return {} if task.private or "assignee" in unless else {"assignee": ""}


def holds(actor: Actor, task: Task) -> bool:
    """Whether the actor, which has passed the guard, holds the task."""
    return bool(actor.lease) or task.holder == agent_title(actor.name, actor.agent)


def _is_person(actor: Actor) -> bool:
    return actor.user is not None and not actor.is_agent
