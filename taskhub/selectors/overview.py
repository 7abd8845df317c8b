"""Overview of the hub for one caller: what it holds, how many tasks there are, what waits for people, what is stale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Final

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from taskhub.models import READY, WAITING_FOR, Claim, Task, TaskStatus
from taskhub.selectors.admission import pause_of
from taskhub.selectors.stale import stale_tasks
from taskhub.selectors.tasks import task_list_for

SHOWN: Final = 10
"""Tasks of each list."""


@dataclass(frozen=True, slots=True)
class HubOverview:
    """Lists have the first ten, those that have waited longest first; `counts` and `waiting_for` are of all."""

    is_paused: bool
    counts: Mapping[str, int]
    waiting_for: Mapping[str, int]
    leases: Sequence[Claim]
    assigned: Sequence[Task]
    waiting: Sequence[Task]
    stale: Sequence[Task]


def hub_overview(*, user: User | AnonymousUser, agent: str) -> HubOverview:
    """`agent`: the caller's name among the agents of its account; "" for a person, who holds no lease."""
    tasks = task_list_for(user=user).defer("description", "folded_text")
    now = timezone.now()
    is_stale = stale_tasks(now)
    conditions = {status: Q(status=status) for status in TaskStatus.values} | {"ready": READY}
    counted = tasks.order_by().aggregate(
        **{f"is_{name}": Count("pk", filter=condition) for name, condition in conditions.items()},
        **{f"for_{name}": Count("pk", filter=condition) for name, condition in WAITING_FOR.items()},
    )
    stale = tasks.filter(is_stale)
    name = user.get_username()
    leases = Claim.objects.filter(ended_at__isnull=True, agent__account=name, agent__name=agent, task__in=tasks)
    return HubOverview(
        is_paused=pause_of(name) is not None,
        counts={name: counted[f"is_{name}"] for name in conditions} | {"stale": stale.count()},
        waiting_for={name: counted[f"for_{name}"] for name in WAITING_FOR},
        leases=list(leases.select_related("task").order_by("expires_at")[:SHOWN]) if name and agent else [],
        assigned=_first(tasks.filter(assignee=name).exclude(status=TaskStatus.DONE)) if name else [],
        waiting=_first(tasks.filter(reduce(or_, WAITING_FOR.values()))),
        stale=_first(stale),
    )


def _first(tasks: QuerySet[Task]) -> list[Task]:
    return list(tasks.order_by("updated_at", "pk")[:SHOWN])
