"""Order between tasks: who waits for whom, when a task is ready, and that no cycle is ever written."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from django_eventstream.models import Event
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from taskhub.auth.actor import SYSTEM, Actor
from taskhub.errors import Conflict, HubError, Invalid
from taskhub.models import READY, Dependency, Task
from taskhub.services import claims, executions, order, tasks
from taskhub.services.dependencies import dependency_waive
from taskhub.services.order import Cycle, count_open
from taskhub.services.tasks import task_create, task_delete, task_update, tasks_create
from tests.agents.calls import acting, call_as, requester_for
from tests.conftest import client_of, make_account

pytestmark = pytest.mark.django_db


def made(title: str = "t", **fields: Any) -> Task:
    return task_create(actor=SYSTEM, title=title, **fields)


def row(task: Task) -> Task:
    return Task.objects.get(pk=task.pk)


def move(task: Task, *statuses: str, **fields: Any) -> None:
    for status in statuses:
        task_update(actor=SYSTEM, task_id=task.pk, status=status, **fields)


def told_ready(since: int = 0) -> Counter[str]:
    events = Event.objects.filter(eid__gt=since).values_list("data", flat=True)
    said = [json.loads(text) for text in events]
    return Counter(event["data"]["task_id"] for event in said if event["event"] == "task_ready")


def test_a_task_is_ready_when_all_that_it_waits_for_is_done(alice: User) -> None:
    first, second = made("first"), made("second")
    last = made("last", priority="high", blocked_by=[first.pk, second.pk])
    assert (row(last).open_blockers, row(last).ready) == (2, False)
    move(first, "done")
    assert (row(last).open_blockers, told_ready()) == (1, Counter())
    move(second, "inprogress", "review", "done")
    assert (row(last).open_blockers, row(last).ready) == (0, True)
    assert told_ready() == Counter([str(last.pk)])
    version = row(last).version
    move(first, "todo")
    assert (row(last).ready, row(last).version) == (False, version)
    event = json.loads(Event.objects.order_by("-eid")[0].data)["data"]
    assert (event["task_id"], event["reason"], event["ready"]) == (str(last.pk), "blocked", False)


def test_claims_honour_the_order_and_people_need_not(alice: User) -> None:
    first = made("first", priority="low")
    last = made("last", priority="high", blocked_by=[first.pk])
    agent = acting(alice, "one")
    found = claims.task_claim(actor=agent)
    assert found is not None
    assert found.task.pk == first.pk
    assert claims.task_claim(actor=agent) is None
    begin = [
        lambda: claims.task_claim(actor=agent, task_id=last.pk),
        lambda: task_update(actor=agent, task_id=last.pk, status="inprogress"),
        lambda: executions.execution_queue(actor=agent, task_id=last.pk, script="true"),
    ]
    for act in begin:
        with pytest.raises(Conflict) as refused:
            act()
        assert refused.value.code == "blocked"
        assert refused.value.details == {"blocked_by": [str(first.pk)], "blocked_by_hidden": 0}
    task_update(actor=Actor(door="rest", user=alice), task_id=last.pk, status="inprogress")
    assert row(last).status == "inprogress"


def test_what_was_closed_without_result_blocks_until_a_person_waives_it(alice: User, operator: User) -> None:
    first = made("first")
    last = made("last", blocked_by=[first.pk])
    move(first, "done", closed_as="cancelled")
    assert (row(last).open_blockers, told_ready()) == (1, Counter())
    with pytest.raises(Conflict) as refused:
        dependency_waive(actor=acting(operator, "o"), task_id=last.pk, blocker_id=first.pk)
    assert refused.value.code == "people_only"
    person = Actor(door="rest", user=alice)
    for _ in range(2):
        dependency_waive(actor=person, task_id=last.pk, blocker_id=first.pk)
    assert (row(last).open_blockers, told_ready()) == (0, Counter([str(last.pk)]))
    # It is done again, this time with a result: nothing changes for what waits.
    move(first, "todo")
    assert (row(first).closed_as, row(last).open_blockers) == ("", 1)
    move(first, "done")
    assert row(last).open_blockers == 0


def test_only_what_is_done_is_closed_as_something() -> None:
    for act in (lambda: made(closed_as="duplicate"), lambda: move(made(), "inprogress", closed_as="duplicate")):
        with pytest.raises(Invalid):
            act()
    task = made(status="done", closed_as="duplicate")
    task_update(actor=SYSTEM, task_id=task.pk, closed_as="")
    assert row(task).closed_as == ""


def test_a_deleted_blocker_blocks_no_longer() -> None:
    first = made("first")
    last = made("last", blocked_by=[first.pk])
    task_delete(actor=SYSTEM, task_id=first.pk)
    assert (row(last).open_blockers, told_ready()) == (0, Counter([str(last.pk)]))


def test_ready_is_told_at_each_change_but_not_at_the_creation(alice: User) -> None:
    task = made()
    assert told_ready() == Counter()
    claims.task_claim(actor=acting(alice, "one"))
    claims.task_release(actor=acting(alice, "one"), task_id=task.pk)
    assert told_ready() == Counter([str(task.pk)])
    task_update(actor=SYSTEM, task_id=task.pk, blocked_by=[made().pk])
    task_update(actor=SYSTEM, task_id=task.pk, blocked_by=[])
    assert told_ready() == Counter({str(task.pk): 2})


def test_cycles_are_refused() -> None:
    first = made("first")
    second = made("second", blocked_by=[first.pk])
    third = made("third", blocked_by=[second.pk])
    for task, blocker in [(first, first), (first, second), (first, third), (second, third)]:
        with pytest.raises(Cycle):
            task_update(actor=SYSTEM, task_id=task.pk, blocked_by=[blocker.pk])
    task_update(actor=SYSTEM, task_id=third.pk, blocked_by=[first.pk, second.pk])
    assert row(third).open_blockers == 2


@pytest.mark.django_db(transaction=True)
def test_two_writers_at_once_do_not_close_a_cycle_together() -> None:
    for _ in range(5):
        one, two = made("one"), made("two")
        start = threading.Barrier(2)

        def write(pair: tuple[Task, Task], start: threading.Barrier = start) -> bool:
            start.wait(60)
            try:
                task_update(actor=SYSTEM, task_id=pair[0].pk, blocked_by=[pair[1].pk])
            except Cycle:
                return False
            finally:
                connections.close_all()
            return True

        with ThreadPoolExecutor(2) as pool:
            written = list(pool.map(write, [(one, two), (two, one)]))
        assert sorted(written) == [False, True]


@pytest.mark.django_db(transaction=True)
def test_blockers_that_end_at_once_are_all_counted() -> None:
    blockers = [made(f"{n}") for n in range(8)]
    waiting = [made("waiting", blocked_by=[task.pk for task in blockers]) for _ in range(3)]
    start = threading.Barrier(len(blockers))

    def end(task: Task) -> None:
        start.wait(60)
        try:
            move(task, "done")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(blockers)) as pool:
        list(pool.map(end, blockers))
    assert [row(task).open_blockers for task in waiting] == [0, 0, 0]
    assert told_ready() == Counter(str(task.pk) for task in waiting)


@pytest.mark.django_db(transaction=True)
def test_a_blocker_is_not_reopened_while_another_writes_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was not done yet when the lock was looked after. SQLite has one writer at a time, and no such lock."""
    first = made("first")
    last = made("last", blocked_by=[first.pk])
    move(first, "done")
    monkeypatch.setattr(tasks, "order_lock_if_done", lambda _: None)
    locked, may_end = threading.Event(), threading.Event()

    def other_writer() -> None:
        try:
            with transaction.atomic():
                order.order_lock()
                locked.set()
                may_end.wait(30)
        finally:
            connections.close_all()

    if connection.vendor == "postgresql":
        with ThreadPoolExecutor(1) as pool:
            pool.submit(other_writer)
            assert locked.wait(30)
            try:
                with pytest.raises(Conflict) as refused:
                    move(first, "todo")
            finally:
                may_end.set()
        assert refused.value.code == "order_busy"
        assert (row(first).status, row(last).open_blockers) == ("done", 0)
    move(first, "todo")
    assert (row(first).status, row(last).open_blockers) == ("todo", 1)


def test_unknown_and_too_many_blockers_are_wrong(api: APIClient) -> None:
    for wrong in (["x"], ["0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f"], "x", None, [str(made().pk)] * 101):
        answer = api.post("/api/tasks/", {"title": "t", "blocked_by": wrong}, format="json")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid"), wrong
    assert Task.objects.filter(title="t").count() == 1


def test_a_private_blocker_leaks_nothing_but_that_it_is_there(alice: User) -> None:
    hidden = made("secret", private=True, assignee="bob", artifacts=["secret.txt"])
    seen = made("seen", artifacts=["seen.txt"])
    task = made("waits", blocked_by=[hidden.pk, seen.pk])
    body = client_of(alice).get(f"/api/tasks/{task.pk}/").json()
    assert [blocker["title"] for blocker in body["blocked_by"]] == ["seen"]
    assert (body["blocked_by"][0]["artifacts"], body["blocked_by"][0]["open"]) == (["seen.txt"], True)
    assert (body["blocked_by_hidden"], body["open_blockers"]) == (1, 2)
    over_mcp = call_as(requester_for(alice), "get_task", task_id=str(task.pk)).body
    assert over_mcp == body
    with pytest.raises(Conflict) as refused:
        claims.task_claim(actor=acting(alice, "one"), task_id=task.pk)
    assert refused.value.details == {"blocked_by": [str(seen.pk)], "blocked_by_hidden": 1}
    for text in (json.dumps(body), json.dumps(refused.value.details)):
        assert "secret" not in text
        assert str(hidden.pk) not in text
    # Nor may it be asked for, or taken away by leaving it out.
    with pytest.raises(Invalid):
        task_update(actor=acting(alice, "one"), task_id=task.pk, blocked_by=[hidden.pk, seen.pk])
    task_update(actor=acting(alice, "one"), task_id=task.pk, blocked_by=[])
    assert list(Dependency.objects.values_list("blocker", flat=True)) == [hidden.pk]
    everything = client_of(make_account("bob", "agent")).get(f"/api/tasks/{task.pk}/").json()
    assert [blocker["title"] for blocker in everything["blocked_by"]] == ["secret"]


def test_the_history_names_no_private_blocker(alice: User, operator: User) -> None:
    hidden = made("secret", private=True, assignee="bob")
    seen = made("seen")
    task = made("waits", blocked_by=[hidden.pk, seen.pk])
    task_update(actor=SYSTEM, task_id=task.pk, blocked_by=[hidden.pk])
    move(hidden, "done", closed_as="cancelled")
    bob = make_account("bob", "agent")
    dependency_waive(actor=Actor(door="rest", user=bob), task_id=task.pk, blocker_id=hidden.pk)

    def history(client: APIClient) -> list[Any]:
        entries = client.get(f"/api/tasks/{task.pk}/history/").json()["results"]
        return [entry["changes"].get("blocked_by") or entry["changes"]["blocker"] for entry in entries]

    known = [str(hidden.pk), str(seen.pk)]
    whole = [[None, known[0]], [sorted(known), known[:1]], [None, sorted(known)]]
    for reader in (bob, operator):
        assert history(client_of(reader)) == whole
    redacted = json.loads(json.dumps(whole).replace(str(hidden.pk), "hidden"))
    for client in (client_of(alice), APIClient()):
        assert history(client) == redacted


def test_only_what_came_to_nothing_is_waived(alice: User) -> None:
    first = made("first")
    last = made("last", blocked_by=[first.pk])
    for status in ("todo", "done"):
        move(first, status)
        with pytest.raises(Conflict) as refused:
            dependency_waive(actor=Actor(door="rest", user=alice), task_id=last.pk, blocker_id=first.pk)
        assert (refused.value.code, refused.value.details) == ("blocker_not_closed", {"status": status})
    assert not Dependency.objects.exclude(waived_by="").exists()


def test_order_over_rest(api: APIClient, alice: User) -> None:
    first = api.post("/api/tasks/", {"title": "first"}, format="json").json()
    last = api.post("/api/tasks/", {"title": "last", "blocked_by": [first["id"]]}, format="json").json()
    assert (last["ready"], last["open_blockers"]) == (False, 1)
    assert [task["id"] for task in api.get("/api/tasks/?ready=true").json()["results"]] == [first["id"]]
    assert [task["id"] for task in api.get("/api/tasks/?ready=false").json()["results"]] == [last["id"]]
    refused = api.post(f"/api/tasks/{last['id']}/claim", {}, format="json")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "blocked")
    closed = {"new_status": "done", "closed_as": "duplicate"}
    assert api.put(f"/api/tasks/status/{first['id']}", closed, format="json").json()["closed_as"] == "duplicate"
    refused = api.post(f"/api/tasks/{last['id']}/waive", {"blocker": first["id"]}, format="json")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "people_only")
    person = APIClient()
    person.force_login(alice)
    waived = person.post(f"/api/tasks/{last['id']}/waive", {"blocker": first["id"]}, format="json")
    assert (waived.status_code, waived.json()["ready"]) == (200, True)
    assert api.get(f"/api/tasks/{last['id']}/").json()["blocked_by"][0]["waived_by"] == "alice"
    unknown = person.post(f"/api/tasks/{first['id']}/waive", {"blocker": last["id"]}, format="json")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "blocker_not_found")
    entry = api.get(f"/api/tasks/{last['id']}/history/").json()["results"][0]
    assert (entry["action"], entry["changes"]) == ("task:waive", {"blocker": [None, first["id"]]})


def test_many_tasks_are_made_in_one_request_with_blockers(api: APIClient) -> None:
    first = made("first")
    body = [{"title": "a"}, {"title": "b", "blocked_by": [str(first.pk)]}]
    answer = api.post("/api/tasks/", body, format="json")
    assert [task["open_blockers"] for task in answer.json()] == [0, 1]
    assert tasks_create(actor=SYSTEM, tasks=[{"title": "c", "blocked_by": [first.pk]}])[0].open_blockers == 1


# --- Random graphs -----------------------------------------------------------------------------------

TASKS = 6
UNDONE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
"""The account stays the same; what is made in an example is rolled back (`undone`)."""
NUMBERS = st.integers(0, TASKS - 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("blocked_by"), NUMBERS, st.sets(NUMBERS, max_size=3)),
        st.tuples(st.just("status"), NUMBERS, st.sampled_from(["todo", "inprogress", "review", "done"])),
        st.tuples(st.just("closed_as"), NUMBERS, st.sampled_from(["", "cancelled", "duplicate"])),
        st.tuples(st.just("waive"), NUMBERS, NUMBERS),
        st.tuples(st.just("delete"), NUMBERS, st.none()),
        st.tuples(st.just("claim"), NUMBERS, st.none()),
        st.tuples(st.just("hold back"), NUMBERS, st.none()),
    ),
    max_size=14,
)


@contextmanager
def undone() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def act(user: User, tasks: list[Task], step: tuple[str, int, Any]) -> None:
    """Refusals are part of the game; nothing of them may stay."""
    what, number, with_ = step
    pk = tasks[number].pk
    person, agent = Actor(door="rest", user=user), acting(user, f"agent {number}")
    if what == "blocked_by":
        task_update(actor=person, task_id=pk, blocked_by=[tasks[n].pk for n in with_])
    elif what in {"status", "closed_as"}:
        task_update(actor=person, task_id=pk, **{what: with_})
    elif what == "waive":
        dependency_waive(actor=person, task_id=pk, blocker_id=tasks[with_].pk)
    elif what == "delete":
        task_delete(actor=person, task_id=pk)
    elif what == "claim":
        claims.task_claim(actor=agent, task_id=pk)
    elif Task.objects.filter(pk=pk, holder="", held_back=False, status="todo").exists():
        Task.objects.filter(pk=pk).update(held_back=True)
        claims.task_release(actor=person, task_id=pk)


def readiness() -> dict[str, bool]:
    """By the relation, not by the counter."""
    return {
        str(task.pk): task.status == "todo" and not task.held_back and count_open(task) == 0
        for task in Task.objects.all()
    }


@settings(max_examples=30, suppress_health_check=UNDONE)
@given(steps=STEPS)
def test_the_counter_is_the_relation_and_ready_is_told_once(steps: list[tuple[str, int, Any]], alice: User) -> None:
    with undone():
        tasks = [made(f"{n}") for n in range(TASKS)]
        for step in steps:
            before = readiness()
            last = Event.objects.order_by("-eid").values_list("eid", flat=True).first() or 0
            try:
                with transaction.atomic():
                    act(alice, tasks, step)
            except HubError:
                assert readiness() == before
                continue
            after = readiness()
            for task in Task.objects.all():
                assert task.open_blockers == count_open(task)
                assert Task.objects.filter(READY, pk=task.pk).exists() == task.ready == after[str(task.pk)]
            became = [pk for pk in after if after[pk] and not before[pk]]
            if step[0] != "hold back":
                assert told_ready(last) == Counter(became)


@settings(max_examples=5, suppress_health_check=UNDONE)
@given(edges=st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=25), order=st.randoms())
def test_no_task_is_claimed_before_what_it_waits_for(edges: set[tuple[int, int]], order: Any, alice: User) -> None:
    """Twenty agents by turns, over a random graph: each claims, and ends what it holds."""
    with undone():
        tasks: list[Task] = []
        for n in range(10):
            waits_for = [tasks[min(pair)].pk for pair in edges if max(pair) == n and min(pair) < n]
            tasks.append(made(f"{n}", blocked_by=waits_for, priority=order.choice(["low", "medium", "high"])))
        agents = [acting(alice, f"{n}") for n in range(20)]
        held: dict[str, Task] = {}
        done: set[Any] = set()
        idle = False
        while len(done) < len(tasks):
            # Where nothing is free, only an agent that ends its task changes anything.
            agent = order.choice([each for each in agents if not idle or each.agent_name in held])
            if agent.agent_name in held:
                task = held.pop(agent.agent_name)
                task_update(actor=agent, task_id=task.pk, status="done")
                done.add(task.pk)
                idle = False
            elif (found := claims.task_claim(actor=agent)) is None:
                idle = True
            else:
                assert {row.blocker_id for row in found.task.dependencies.all()} <= done
                held[agent.agent_name] = found.task
        waited = {str(task.pk) for task in tasks if task.dependencies.exists()}
        assert told_ready() == Counter(waited)
