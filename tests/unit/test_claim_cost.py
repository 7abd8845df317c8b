"""What a claim costs where a long chain of tasks waits: counted by the database itself, not timed."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.http import QueryDict

from taskhub.api.filters import filter_tasks
from taskhub.auth.actor import SYSTEM, Actor
from taskhub.models import Dependency, Task
from taskhub.selectors.tasks import task_list_for
from taskhub.services.claims import task_claim
from taskhub.services.tasks import task_create, task_update
from tests.agents.calls import acting

pytestmark = pytest.mark.django_db

CHAIN = 1000
STEP = 10
"""SQLite calls back after so many of its virtual machine's instructions."""

FEW = 20
"""A table of few rows is read whole: some more do not count. Without the index they are thousands."""


@dataclass
class Cost:
    """`work`: on SQLite instructions of its virtual machine, on PostgreSQL rows that its plans looked at."""

    queries: int = 0
    work: int = 0


def cost_of(act: Callable[[], Any]) -> tuple[Any, Cost]:
    """What it answers, and what it cost the database."""
    cost = Cost()
    with ExitStack() as stack:
        stack.enter_context(connection.execute_wrapper(_counting(cost)))
        if connection.vendor == "sqlite":
            connection.connection.set_progress_handler(_adding(cost), STEP)
            stack.callback(connection.connection.set_progress_handler, None, 0)
        return act(), cost


def _adding(cost: Cost) -> Callable[[], int]:
    def step() -> int:
        cost.work += STEP
        return 0

    return step


def _counting(cost: Cost) -> Callable[..., Any]:
    def execute(run: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        cost.queries += 1
        if connection.vendor == "postgresql" and sql.startswith("SELECT"):
            with connection.cursor() as cursor:
                # On the driver's own cursor: not counted again.
                cursor.cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}", params)
                (found,) = cursor.cursor.fetchone()
            plan = json.loads(found) if isinstance(found, str) else found
            cost.work += _rows_looked_at(plan[0]["Plan"])
        return run(sql, params, many, context)

    return execute


def _rows_looked_at(node: dict[str, Any]) -> int:
    removed = sum(value for name, value in node.items() if name.startswith("Rows Removed by"))
    own = (node["Actual Rows"] + removed) * node["Actual Loops"]
    return int(own) + sum(map(_rows_looked_at, node.get("Plans", [])))


def chain(first: Task) -> None:
    """CHAIN tasks, each behind the one before; all but the first are blocked. They are older and more urgent."""
    rows = [Task(title=f"{n}", priority="high", open_blockers=1) for n in range(CHAIN)]
    Task.objects.bulk_create(rows)
    Task.objects.exclude(pk=first.pk).update(created_at="2020-01-01T00:00:00Z")
    pairs = zip([first, *rows], rows, strict=False)
    Dependency.objects.bulk_create([Dependency(blocker=blocker, task=task) for blocker, task in pairs])


def forget_statistics() -> None:
    """What PostgreSQL has gathered by itself of the rows of earlier tests. The test's transaction gives it back."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM pg_statistic WHERE starelid = 'taskhub_task'::regclass")


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
    # The planner may judge otherwise when it knows the table. What the chain's second task was is its first now.
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    assert_little_more(alone, measured(agent))
    ready = Task.objects.get(status="todo", open_blockers=0)
    assert (ready.title, Task.objects.filter(open_blockers=1).count()) == ("1", CHAIN - 2)


def assert_little_more(alone: list[Cost], behind: list[Cost]) -> None:
    for name, before, after in zip(["list", "claim", "claim in vain"], alone, behind, strict=False):
        assert after.queries == before.queries, name
        assert after.work <= 2 * before.work + FEW, f"{name}: {before} alone, {after} with the chain"
    # The end of a blocker writes its dependent and tells that it is ready, which one that blocks nothing need not.
    assert behind[-1].work <= 4 * alone[-1].work + FEW
