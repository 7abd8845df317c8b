"""Agents: release what one holds, stop one, stop its executions. Each is made of the services for single tasks.

Every task is a transaction of its own: one that is refused keeps no other, and a process that dies half-way has done a
part, which the same request completes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction

from taskhub.auth.actor import Actor
from taskhub.errors import Forbidden, HubError, NotFound
from taskhub.models import Agent, Claim
from taskhub.roles import Role, role_of
from taskhub.selectors.agents import agent_claims, agent_executions, agent_get
from taskhub.services.audit import audit_write
from taskhub.services.claims import task_release
from taskhub.services.executions import execution_request_stop
from taskhub.services.tasks import task_lock
from taskhub.services.tokens import token_revoke

_Row = TypeVar("_Row")
AT_ONCE: Final = 100
"""Tasks that one request releases, or executions that it stops; `remaining` says how many are left."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A task that stayed as it was, and why."""

    task_id: UUID
    error: HubError


@dataclass(slots=True)
class Acted:
    """What became of the tasks of an agent. `token_revoked` is False where the token had ended before."""

    done: list[UUID] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    remaining: int = 0
    token_revoked: bool = False


def agent_release(*, actor: Actor, agent_id: int) -> Acted:
    """Give back what the agent holds, of the tasks that the actor may see, as `task_release` does. Raises NotFound."""
    agent = agent_get(agent_id)
    acted = _release_all(actor, agent)
    _audit(actor, "agent:release", agent, acted)
    return acted


def agent_stop(*, actor: Actor, agent_id: int) -> Acted:
    """Revoke the token that the agent used last, and give back what it holds.

    The token first: what the agent claims after the release would stay with it. Its streams close within 5 s, and its
    executions go on. Raises NotFound; Forbidden unless the actor is an operator or of the agent's account.
    """
    agent = agent_get(agent_id)
    user = _account(actor)
    is_operator = role_of(user) >= Role.OPERATOR
    if not is_operator and agent.account != actor.name:
        raise Forbidden("Only operators and the agent's own account may revoke its token.")
    revoked = _revoke(actor, agent, None if is_operator else user)
    acted = _release_all(actor, agent)
    acted.token_revoked = revoked
    _audit(actor, "agent:stop", agent, acted)
    return acted


def agent_stop_executions(*, actor: Actor, agent_id: int) -> Acted:
    """Ask for the end of the active executions that the agent asked for, of tasks that the actor may see.

    Raises NotFound.
    """
    agent = agent_get(agent_id)
    found = agent_executions(user=_account(actor), agents=[agent]).exclude(stop_requested_at__isnull=False)
    rows = list(found.order_by("queued_at", "pk").values_list("task_id", "pk"))
    acted = _act_on(rows, lambda row: _stop(actor, *row), lambda row: row[0])
    _audit(actor, "agent:stop_executions", agent, acted)
    return acted


def _stop(actor: Actor, task_id: UUID, execution_id: UUID) -> bool:
    execution_request_stop(actor=actor, task_id=task_id, execution_id=execution_id)
    return True


def _release_all(actor: Actor, agent: Agent) -> Acted:
    claims = list(agent_claims(user=_account(actor), agents=[agent]).order_by("begun_at", "pk"))
    return _act_on(claims, lambda claim: _release(actor, claim), lambda claim: claim.task_id)


@transaction.atomic
def _release(actor: Actor, claim: Claim) -> bool:
    """False where the claim has ended since it was looked at: another agent may hold the task by now."""
    task_lock(actor, claim.task_id)
    if not Claim.objects.filter(pk=claim.pk, ended_at__isnull=True).exists():
        return False
    task_release(actor=actor, task_id=claim.task_id)
    return True


def _act_on(rows: Sequence[_Row], act: Callable[[_Row], bool], task_of: Callable[[_Row], UUID]) -> Acted:
    acted = Acted(remaining=max(0, len(rows) - AT_ONCE))
    for row in rows[:AT_ONCE]:
        try:
            if act(row):
                acted.done.append(task_of(row))
        except HubError as error:
            acted.refused.append(Refusal(task_of(row), error))
    return acted


def _revoke(actor: Actor, agent: Agent, owner: User | None) -> bool:
    if agent.token_id is None:
        return False
    try:
        token_revoke(actor=actor, public_id=agent.token_id, owner=owner)
    except NotFound:
        return False  # it has expired, or was revoked: what it held is still to be given back
    return True


def _audit(actor: Actor, action: str, agent: Agent, acted: Acted) -> None:
    changes: dict[str, list[object]] = {"agent": [None, str(agent)], "tasks": [None, len(acted.done)]}
    if acted.refused:
        changes["refused"] = [None, len(acted.refused)]
    audit_write(actor=actor, action=action, subject=f"agent:{agent.pk}", changes=changes)


def _account(actor: Actor) -> User:
    if actor.user is None:
        raise ValueError("only an account acts on an agent")
    return actor.user
