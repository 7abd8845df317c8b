"""Agents: who works here, what each holds, what each runs, and what a caller may do about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from taskhub.auth.actor import Actor
from taskhub.auth.private_text import visible_executions
from taskhub.errors import NotFound
from taskhub.models import (
    ACTIVE_STATUSES,
    NOT_SUPERSEDED,
    UNSUCCESSFUL,
    Agent,
    ApiToken,
    Claim,
    Execution,
    ExecutionKind,
    ExecutionStatus,
)
from taskhub.roles import Caller, Role, role_of, visible_tasks

HELD_SHOWN: Final = 20
"""Tasks that are listed of each agent; the count is of all."""


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """What the caller may know of an agent.

    `token` is the one that it used last: None where that has ended, and for callers who may not see it. `held` has the
    first of its claims; `holds` counts all. `runs_today` were queued since midnight, in the hub's time zone;
    `failures_today` counts those that failed, timed out or were lost. `active` executions are those that it asked for.
    """

    token: ApiToken | None
    token_is_shared: bool
    held: Sequence[Claim]
    holds: int
    active: int
    runs_today: int
    failures_today: int


@dataclass(frozen=True, slots=True)
class AgentRights:
    """What this caller may do to an agent."""

    may_release: bool
    may_stop: bool
    may_stop_executions: bool


def agent_list() -> QuerySet[Agent]:
    """All agents. Every reader may know them: each was named in the `holder` of a task, or waited for one."""
    return Agent.objects.all()


def agent_get(agent_id: int) -> Agent:
    """Raises NotFound."""
    found = Agent.objects.filter(pk=agent_id).first()
    if found is None:
        raise NotFound("Agent not found.", code="agent_not_found")
    return found


def agent_claims(*, user: Caller, agents: Sequence[Agent]) -> QuerySet[Claim]:
    """The living claims of these agents on tasks that this user may see."""
    visible = visible_tasks(user, prefix="task__")
    return Claim.objects.filter(visible, agent__in=[agent.pk for agent in agents], ended_at__isnull=True)


def agent_executions(*, user: Caller, agents: Sequence[Agent]) -> QuerySet[Execution]:
    """The active executions that these agents asked for, of tasks that this user may see."""
    asked = Execution.objects.filter(visible_executions(user), NOT_SUPERSEDED, task__isnull=False)
    return asked.filter(agent__in=[agent.pk for agent in agents], status__in=ACTIVE_STATUSES)


def agent_facts(*, user: Caller, agents: Sequence[Agent]) -> dict[int, AgentFacts]:
    """By the agent's id; five queries for one page of agents.

    They read the page's living claims and the runs of today, by index: not what is kept.
    """
    held = _held(user, agents)
    active = _counted(agent_executions(user=user, agents=agents))
    runs, failures = _runs_today(user, agents)
    tokens, shared = _tokens(user, agents)
    return {
        agent.pk: AgentFacts(
            token=tokens.get(agent.token_id) if agent.token_id else None,
            token_is_shared=agent.pk in shared,
            held=held[agent.pk],
            holds=held[agent.pk][0].of_agent if held[agent.pk] else 0,  # type: ignore[attr-defined]  # an annotation
            active=active.get(agent.pk, 0),
            runs_today=runs.get(agent.pk, 0),
            failures_today=failures.get(agent.pk, 0),
        )
        for agent in agents
    }


def agent_rights(*, actor: Actor | None, agent: Agent) -> AgentRights:
    """Without an actor, those of a caller without an account.

    People may release and stop what any agent does, agents what they do themselves. Tokens are revoked by their own
    account and by operators.
    """
    role = role_of(actor.user) if actor is not None and actor.user is not None else Role.NOBODY
    if actor is None or role < Role.AGENT:
        return AgentRights(may_release=False, may_stop=False, may_stop_executions=False)
    is_itself = (agent.account, agent.name) == (actor.name, actor.agent)
    works = not actor.is_agent or is_itself or role >= Role.OPERATOR or settings.TASKHUB_OPEN_CHANGES
    owns = role >= Role.OPERATOR or agent.account == actor.name
    return AgentRights(may_release=works, may_stop=owns, may_stop_executions=works)


def _held(user: Caller, agents: Sequence[Agent]) -> dict[int, list[Claim]]:
    """The first claims of each agent, the oldest first, with `of_agent`: how many it has."""
    by_agent = F("agent")
    claims = agent_claims(user=user, agents=agents).annotate(
        nth=Window(RowNumber(), partition_by=by_agent, order_by=["begun_at", "pk"]),
        of_agent=Window(Count("pk"), partition_by=by_agent),
    )
    held: dict[int, list[Claim]] = defaultdict(list)
    shown = claims.filter(nth__lte=HELD_SHOWN).select_related("task").defer("task__description", "task__folded_text")
    for claim in shown.order_by("begun_at", "pk"):
        held[claim.agent_id].append(claim)
    return held


def _counted(executions: QuerySet[Execution]) -> dict[int, int]:
    return dict(executions.order_by().values_list("agent").annotate(n=Count("pk")))


def _runs_today(user: Caller, agents: Sequence[Agent]) -> tuple[dict[int, int], dict[int, int]]:
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    runs = Execution.objects.filter(visible_executions(user), kind=ExecutionKind.RUN, queued_at__gte=midnight)
    # Each status is named, so that one index leads to those of an agent that are active, and to those of today.
    runs = runs.filter(agent__in=[agent.pk for agent in agents], status__in=ExecutionStatus.values).order_by()
    failed = Count("pk", filter=Q(status__in=UNSUCCESSFUL))
    rows = list(runs.values_list("agent").annotate(n=Count("pk"), failed=failed))
    return {pk: n for pk, n, _ in rows}, {pk: n for pk, _, n in rows}


def _tokens(user: Caller, agents: Sequence[Agent]) -> tuple[dict[UUID, ApiToken], set[int]]:
    """The tokens that this user may see, and the agents whose token is another agent's as well."""
    named = {agent.token_id for agent in agents if agent.token_id}
    tokens: QuerySet[ApiToken] = ApiToken.objects.filter(public_id__in=named).select_related("client")
    if role_of(user) < Role.OPERATOR:
        tokens = tokens.filter(user=user) if user.is_authenticated else tokens.none()
    found = {token.public_id: token for token in tokens}
    if not found:
        return {}, set()
    others = Agent.objects.filter(token_id=OuterRef("token_id")).exclude(pk=OuterRef("pk"))
    sharing = Agent.objects.filter(Exists(others), pk__in=[agent.pk for agent in agents], token_id__in=found)
    return found, set(sharing.values_list("pk", flat=True))
