"""`task_claim`: which task a caller gets, and that no other caller gets it."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from django.utils import timezone
from rest_framework.test import APIClient

from taskhub.auth.actor import SYSTEM, Actor
from taskhub.errors import Conflict, NotFound
from taskhub.models import AuditEntry, Task
from taskhub.services import claims
from taskhub.services.tasks import task_create
from tests.conftest import make_account

pytestmark = pytest.mark.django_db


def made(title: str, **fields: Any) -> Task:
    return task_create(actor=SYSTEM, title=title, **fields)


def task_claim(**wanted: Any) -> Task | None:
    found = claims.task_claim(**wanted)
    return found.task if found is not None else None


def titles(actor: Actor, **wanted: Any) -> list[str]:
    """What the actor gets, claim after claim, until there is nothing more."""
    found = []
    while (task := task_claim(actor=actor, **wanted)) is not None:
        found.append(task.title)
    return found


def test_the_highest_priority_comes_first_and_then_the_oldest(actor: Actor) -> None:
    for title, priority in [("1", "low"), ("2", "high"), ("3", "medium"), ("4", "high"), ("5", "medium")]:
        made(title, priority=priority)
    Task.objects.filter(title="4").update(created_at=timezone.now() - timedelta(days=1))
    assert titles(actor) == ["4", "2", "3", "5", "1"]


def test_a_claimed_task_is_assigned_and_inprogress(actor: Actor) -> None:
    task = made("t")
    claimed = task_claim(actor=actor)
    assert claimed is not None
    assert (claimed.pk, claimed.assignee, claimed.status, claimed.version) == (task.pk, "alice", "inprogress", 2)
    task.refresh_from_db()
    assert (task.assignee, task.status) == ("alice", "inprogress")
    entry = AuditEntry.objects.filter(task_id=task.pk).first()
    assert entry is not None
    assert entry.changes == {"status": ["todo", "inprogress"], "assignee": ["", "alice"]}


def test_only_free_tasks_are_claimed(actor: Actor) -> None:
    made("of bob", assignee="bob")
    made("in progress", status="inprogress")
    made("in review", status="review")
    made("done", status="done")
    made("unassigned and visible to me", private=True)
    made("mine", assignee="alice")
    made("mine and private", assignee="alice", private=True)
    assert titles(actor) == ["mine", "mine and private"]
    assert titles(Actor(door="mcp", user=make_account("oz", "operator"))) == ["unassigned and visible to me"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"tags": ["a"]}, ["a", "a b"]),
        ({"tags": ["a", "b"]}, ["a b"]),
        ({"tags": ["A"]}, []),
        ({"tags": ["a b"]}, []),
        ({"tags": ['x"a']}, ["quoted"]),
        ({"tags": ["ü'; --"]}, ["odd"]),
        ({"tags": ["%"]}, []),
        ({"tags": []}, ["a", "a b", "none", "odd", "quoted"]),
        ({"priority": ["high", "low"]}, ["a", "none"]),
        ({"priority": ["low"], "tags": ["a"]}, ["a"]),
    ],
)
def test_filters_select_the_claimed_task(actor: Actor, wanted: dict[str, Any], found: list[str]) -> None:
    made("a", tags=["a"], priority="low")
    made("a b", tags=["b", "a"])
    made("none", priority="high")
    made("odd", tags=["ü'; --"])
    made("quoted", tags=['x"a'])
    assert sorted(titles(actor, **wanted)) == found


def test_a_task_is_claimed_by_id_repeatedly_by_its_assignee(actor: Actor) -> None:
    made("older")
    task = made("this")
    first = task_claim(actor=actor, task_id=task.pk)
    again = task_claim(actor=actor, task_id=task.pk)
    assert first is not None
    assert again is not None
    assert (first.pk, first.version, again.version) == (task.pk, 2, 2)


def test_a_task_that_is_not_free_cannot_be_claimed_by_id(actor: Actor) -> None:
    for fields in ({"assignee": "bob"}, {"status": "done"}, {"status": "inprogress"}):
        with pytest.raises(Conflict) as refusal:
            task_claim(actor=actor, task_id=made("t", **fields).pk)
        assert refusal.value.code == "task_not_claimable"
    with pytest.raises(NotFound):
        task_claim(actor=actor, task_id=made("t", assignee="bob", private=True).pk)


def test_tasks_are_claimed_over_rest(api: APIClient) -> None:
    task = made("t", tags=["x"])
    assert api.post("/api/tasks/claim/", {"tags": ["y"]}, format="json").json() == {"task": None, "lease": None}
    answer = api.post("/api/tasks/claim", {"tags": ["x"]}, format="json")
    assert answer.status_code == 200
    assert answer.json()["task"].items() <= api.get(f"/api/tasks/{task.pk}/").json().items()
    assert api.post("/api/tasks/claim/", {"tag": "x"}, format="json").status_code == 400


def agents(count: int) -> list[Actor]:
    users = [make_account(f"agent-{n}", "agent") for n in range(count)]
    return [Actor(door="mcp", user=user) for user in users]


@pytest.mark.django_db(transaction=True)
def test_concurrent_claims_get_different_tasks() -> None:
    tasks = [made(f"{n}").pk for n in range(40)]
    start = threading.Barrier(8)

    def work(actor: Actor) -> list[Any]:
        start.wait(60)
        taken = []
        try:
            while (task := task_claim(actor=actor)) is not None:
                taken.append(task.pk)
        finally:
            connections.close_all()
        return taken

    claimants = agents(8)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(work, claimants))
    assert Counter(pk for each in taken for pk in each) == Counter(tasks)
    for actor, each in zip(claimants, taken, strict=True):
        assert Task.objects.filter(assignee=actor.name, status="inprogress").count() == len(each)
    assert AuditEntry.objects.filter(action="task:update").count() == len(tasks)


@pytest.mark.django_db(transaction=True)
def test_a_claim_skips_locked_rows(actor: Actor) -> None:
    """On SQLite, which lets one transaction write at a time, it waits for its turn instead."""
    may_pass = connection.vendor == "postgresql"
    first, second = made("first"), made("second")

    def claim() -> Any:
        try:
            task = task_claim(actor=actor)
            return task and task.pk
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            Task.objects.select_for_update().get(pk=first.pk)
            claimed = pool.submit(claim)
            if may_pass:
                wait([claimed], 10)
                assert claimed.done()
        assert claimed.result(30) == (second if may_pass else first).pk


def test_claims_need_an_account(alice: User) -> None:
    task = made("t")
    task_claim(actor=Actor(door="rest", user=alice))
    assert task_claim(actor=Actor(door="rest", user=make_account("bob", "agent"))) is None
    assert Task.objects.get(pk=task.pk).assignee == "alice"
