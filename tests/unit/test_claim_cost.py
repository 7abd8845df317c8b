"""What a claim costs where a long chain of tasks waits: counted by the database itself, not timed."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.http import QueryDict

from taskhub.api.filters import filter_tasks
from taskhub.auth.actor import SYSTEM, Actor
from taskhub.models import Dependency, Task
from taskhub.selectors.tasks import task_list_for
from taskhub.services.claims import task_claim
from taskhub.services.tasks import task_create, task_update
from tests.agents.calls import acting
from tests.costs import Cost, analyze, cost_of, forget_statistics

pytestmark = pytest.mark.django_db

CHAIN = 1000
FEW = 20
"""A table of few rows is read whole: some more do not count. Without the index they are thousands."""


def chain(first: Task) -> None:
    """CHAIN tasks, each behind the one before; all but the first are blocked. They are older and more urgent."""
    rows = [Task(title=f"{n}", priority="high", open_blockers=1) for n in range(CHAIN)]
    Task.objects.bulk_create(rows)
    Task.objects.exclude(pk=first.pk).update(created_at="2020-01-01T00:00:00Z")
    pairs = zip([first, *rows], rows, strict=False)
    Dependency.objects.bulk_create([Dependency(blocker=blocker, task=task) for blocker, task in pairs])


def list_ready(agent: Actor) -> list[Task]:
    assert agent.user is not None
    tasks = filter_tasks(QueryDict("ready=true"), task_list_for(user=agent.user), agent.user)
    return list(tasks.order_by("-created_at", "-id")[:50])


def measured(agent: Actor) -> list[Cost]:
    """The list of what is ready, a claim that finds the only task of it, one that finds none, the end of the task."""
    ready, listed = cost_of(lambda: list_ready(agent))
    assert len(ready) == 1
    found, claim = cost_of(lambda: task_claim(actor=agent))
    assert found is not None
    none, in_vain = cost_of(lambda: task_claim(actor=agent))
    assert none is None
    _, end = cost_of(lambda: task_update(actor=agent, task_id=found.task.pk, status="done"))
    return [listed, claim, in_vain, end]


def test_a_chain_of_1000_costs_a_claim_at_most_twice_as_much(alice: User) -> None:
    agent = acting(alice, "one")
    forget_statistics()
    task_create(actor=SYSTEM, title="warms up what is read once")
    measured(agent)

    task_create(actor=SYSTEM, title="alone")
    alone = measured(agent)
    first = task_create(actor=SYSTEM, title="first")
    chain(first)
    assert_little_more(alone, measured(agent))
    analyze()  # what the chain's second task was is its first now
    assert_little_more(alone, measured(agent))
    ready = Task.objects.get(status="todo", open_blockers=0)
    assert (ready.title, Task.objects.filter(open_blockers=1).count()) == ("1", CHAIN - 2)


def assert_little_more(alone: list[Cost], behind: list[Cost]) -> None:
    for name, before, after in zip(["list", "claim", "claim in vain"], alone, behind, strict=False):
        assert after.queries == before.queries, name
        assert after.work <= 2 * before.work + FEW, f"{name}: {before} alone, {after} with the chain"
    # The end of a blocker writes its dependent and tells that it is ready, which one that blocks nothing need not.
    assert behind[-1].work <= 4 * alone[-1].work + FEW


def waiting(count: int, **fields: object) -> None:
    """So many ready tasks, of all priorities; the most urgent come last."""
    priorities = ("low", "medium", "high")
    Task.objects.bulk_create(
        Task(title=f"{n}", priority=priorities[3 * n // count], **fields)  # type: ignore[arg-type]
        for n in range(count)
    )


def test_a_claim_costs_the_same_however_many_tasks_wait(alice: User) -> None:
    agent = acting(alice, "one")
    forget_statistics()
    task_create(actor=SYSTEM, title="warms up what is read once")
    task_claim(actor=agent)
    waiting(3)
    first, alone = cost_of(lambda: task_claim(actor=agent))
    assert first is not None
    assert first.task.priority == "high"
    waiting(CHAIN)
    analyze()
    for _ in range(2):
        found, behind = cost_of(lambda: task_claim(actor=agent))
        assert found is not None
        assert found.task.priority == "high"
        assert behind.queries == alone.queries
        assert behind.work <= 2 * alone.work + FEW, f"{alone} alone, {behind} with {CHAIN}"
