"""`/api/agents/`: who works here, what each holds and runs, and how to end it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from taskhub.auth.actor import SYSTEM, Actor
from taskhub.errors import LeaseLost
from taskhub.models import Agent, ApiToken, AuditEntry, Claim, Execution, ExecutionStatus, Task
from taskhub.selectors.agents import HELD_SHOWN
from taskhub.services import agents as services
from taskhub.services import tasks
from taskhub.services.claims import task_claim
from taskhub.services.executions import execution_queue
from tests.agents.calls import acting
from tests.conftest import client_of, make_account

pytestmark = [pytest.mark.django_db]


@pytest.fixture
def bob() -> User:
    """Another agent's account."""
    return make_account("bob", "agent")


def person(user: User) -> APIClient:
    client = APIClient()
    client.force_login(user)
    return client


def listed(client: APIClient, **query: Any) -> dict[str, dict[str, Any]]:
    """By account and name."""
    answer = client.get("/api/agents/", query)
    assert answer.status_code == 200, answer.content
    return {f"{row['account']}/{row['name']}": row for row in answer.json()["results"]}


def held(actor: Actor, **fields: Any) -> Task:
    task = tasks.task_create(actor=SYSTEM, title="t", **fields)
    task_claim(actor=actor, task_id=task.pk)
    return task


def agent_id(actor: Actor) -> int:
    return Agent.objects.get(account=actor.name, name=actor.agent).pk


def acted(client: APIClient, actor: Actor, verb: str, query: str = "") -> dict[str, Any]:
    answer = client.post(f"/api/agents/{agent_id(actor)}/{verb}/{query}")
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


# --- The list -----------------------------------------------------------------------------------------


def test_the_list_says_who_works_here_and_on_what(alice: User, bob: User) -> None:
    worker, other = acting(alice, "worker"), acting(bob, "b")
    task = held(worker)
    held(other)
    Agent.objects.filter(account="bob").update(last_seen_at=timezone.now() - timedelta(hours=1))
    rows = listed(person(alice))
    assert list(rows) == ["alice/worker", "bob/b"], "those first that were seen last"
    mine = rows["alice/worker"]
    claim = Claim.objects.get(task=task)
    since, expires = (each.isoformat().replace("+00:00", "Z") for each in (claim.begun_at, claim.expires_at))
    shown = {"task_id": str(task.pk), "title": "t", "status": "inprogress", "attempt": 1}
    assert mine["held"] == [{**shown, "since": since, "expires_at": expires}]
    assert (mine["holds"], mine["active"], mine["runs_today"], mine["failures_today"]) == (1, 0, 0, 0)


def test_a_token_is_shown_to_its_account_and_operators_until_it_ends(alice: User, bob: User, operator: User) -> None:
    held(acting(alice, "worker"))
    assert listed(person(bob))["alice/worker"]["token"] is None
    for client in (person(alice), person(operator)):
        token = listed(client)["alice/worker"]["token"]
        assert (token["name"], token["role"], token["is_shared"]) == ("shared", None, False)
    held(acting(alice, "helper"))
    assert {row["token"]["is_shared"] for row in listed(person(alice)).values()} == {True}
    ApiToken.objects.filter(user=alice).delete()
    assert listed(person(operator))["alice/worker"]["token"] is None


def test_runs_of_today_are_counted_for_the_agent_that_asked_for_them(alice: User, bob: User) -> None:
    worker = acting(alice, "worker")
    by_status = (ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.LOST, ExecutionStatus.STOPPED)
    for status in by_status:
        execution = execution_queue(actor=worker, task_id=held(worker).pk, script="true")
        Execution.objects.filter(pk=execution.pk).update(status=status)
    execution_queue(actor=worker, task_id=held(worker).pk, script="true")
    old = execution_queue(actor=worker, task_id=held(worker).pk, script="true")
    Execution.objects.filter(pk=old.pk).update(
        status=ExecutionStatus.FAILED, queued_at=timezone.localtime().replace(hour=0, minute=0) - timedelta(hours=1)
    )
    execution_queue(actor=Actor(door="rest", user=alice), task_id=held(acting(bob, "b")).pk, script="true")
    rows = listed(person(bob))
    assert [rows["alice/worker"][name] for name in ("active", "runs_today", "failures_today")] == [1, 5, 2]
    assert [rows["bob/b"][name] for name in ("active", "runs_today", "failures_today")] == [0, 0, 0]


def test_an_agent_that_runs_a_script_without_a_claim_is_known(alice: User) -> None:
    task = tasks.task_create(actor=SYSTEM, title="t")
    answer = client_of(alice, "ci").post(f"/api/exec/{task.pk}/", {"script_content": "true"}, format="json")
    assert answer.status_code == 202
    row = listed(person(alice))["alice/ci"]
    assert (row["holds"], row["active"], row["runs_today"]) == (0, 1, 1)


def test_what_is_private_is_not_shown(alice: User, bob: User, operator: User) -> None:
    worker = acting(alice, "worker")
    task = held(worker, private=True, assignee="alice")
    execution_queue(actor=worker, task_id=task.pk, script="true")
    for client, n in ((person(bob), 0), (person(alice), 1), (person(operator), 1)):
        row = listed(client)["alice/worker"]
        assert (len(row["held"]), row["holds"], row["active"], row["runs_today"]) == (n, n, n, n)
    assert acted(person(bob), worker, "release")["done"] == []
    assert acted(person(bob), worker, "stop-executions")["done"] == []
    assert Claim.objects.get(task=task).ended_at is None


def test_the_list_takes_as_many_queries_for_many_agents_and_claims(alice: User) -> None:
    client = person(alice)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            listed(client, page_size=200)
        return len(captured)

    held(acting(alice, "worker-0"))
    few = queries()
    for n in range(4):
        for _ in range(3):
            held(acting(alice, f"worker-{n}"))
    assert queries() == few


@pytest.mark.sqlite_suffices
def test_what_is_kept_is_not_read(alice: User) -> None:
    """Claims that have ended, and executions of former days, are in no index range that a statement walks."""
    held(acting(alice, "worker"))
    client = person(alice)
    with CaptureQueriesContext(connection) as captured:
        listed(client)
    plans = []
    for query in captured.captured_queries:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
            plans += [str(row[3]) for row in cursor.fetchall()]
    assert [plan for plan in plans if re.fullmatch(r"SCAN taskhub_\w+", plan)] == []
    assert "SCAN taskhub_agent USING INDEX agent_newest" in plans
    walked = [plan.partition("USING ")[2] for plan in plans if re.match("SEARCH taskhub_(execution|claim)", plan)]
    assert sorted(set(walked)) == [
        "INDEX claim_of_holder (agent_id=?)",
        "INDEX execution_of_agent (agent_id=? AND status=? AND queued_at>?)",
        "INDEX execution_of_agent (agent_id=? AND status=?)",
    ]


def test_many_claims_are_counted_and_the_oldest_listed(alice: User) -> None:
    worker = acting(alice, "worker")
    ids = [str(held(worker).pk) for _ in range(HELD_SHOWN + 2)]
    row = listed(person(alice))["alice/worker"]
    assert row["holds"] == HELD_SHOWN + 2
    assert [claim["task_id"] for claim in row["held"]] == ids[:HELD_SHOWN]


def test_pages_have_addresses(alice: User) -> None:
    for n in range(3):
        held(acting(alice, f"worker-{n}"))
    first = person(alice).get("/api/agents/", {"page_size": 2}).json()
    rest = person(alice).get(first["next"]).json()
    assert [row["name"] for page in (first, rest) for row in page["results"]] == ["worker-2", "worker-1", "worker-0"]


RIGHTS = ("may_release", "may_stop", "may_stop_executions")


def test_what_may_be_done_is_offered_and_nothing_else(alice: User, bob: User, operator: User, settings: Any) -> None:
    held(acting(alice, "worker"))
    viewer = make_account("viewer", "viewer")
    settings.TASKHUB_OPEN_READING = True
    of_operator = client_of(operator, "its token")
    for client, query, rights in [
        (APIClient(), {}, (False, False, False)),
        (person(viewer), {}, (False, False, False)),
        (person(bob), {}, (True, False, True)),
        (person(alice), {}, (True, True, True)),
        (person(operator), {}, (True, True, True)),
        (client_of(alice, "worker"), {}, (True, True, True)),
        (client_of(alice, "x"), {"as": "worker"}, (True, True, True)),
        (client_of(alice, "another"), {}, (False, True, False)),
        (client_of(bob, "worker"), {}, (False, False, False)),
        (of_operator, {}, (True, True, True)),
    ]:
        row = listed(client, **query)["alice/worker"]
        assert tuple(row[name] for name in RIGHTS) == rights, (client, query)


# --- Release ------------------------------------------------------------------------------------------


def test_a_person_releases_what_an_agent_holds(alice: User, bob: User) -> None:
    worker, other = acting(alice, "worker"), acting(alice, "other")
    mine = [held(worker), held(worker)]
    theirs = held(other)
    answer = acted(person(bob), worker, "release")
    assert answer == {"done": [str(task.pk) for task in mine], "refused": [], "remaining": 0, "token_revoked": False}
    for task in mine:
        task.refresh_from_db()
        assert (task.status, task.assignee, task.holder) == ("todo", "", "")
    theirs.refresh_from_db()
    assert theirs.holder == "alice/other"
    with pytest.raises(LeaseLost) as told:
        tasks.task_update(actor=worker, task_id=mine[0].pk, title="mine")
    assert told.value.details["by"] == "bob"
    entry = AuditEntry.objects.get(action="agent:release")
    assert (entry.actor_name, entry.subject) == ("bob", f"agent:{agent_id(worker)}")
    assert entry.changes == {"agent": [None, "alice/worker"], "tasks": [None, 2]}
    assert acted(person(bob), worker, "release")["done"] == []


def test_an_agent_releases_its_own_and_an_operators_token_all(alice: User, bob: User, operator: User) -> None:
    worker = acting(alice, "worker")
    task = held(worker)
    answer = acted(client_of(bob, "b"), worker, "release")
    assert answer["done"] == []
    assert [(each["task_id"], each["code"]) for each in answer["refused"]] == [(str(task.pk), "held")]
    of_operator = client_of(operator, "o")
    assert acted(of_operator, worker, "release")["refused"] != []
    assert acted(of_operator, worker, "release", "?force=true")["done"] == [str(task.pk)]
    task = held(acting(alice, "itself"))
    assert acted(client_of(alice, "itself"), acting(alice, "itself"), "release")["done"] == [str(task.pk)]


def test_a_claim_that_has_ended_meanwhile_is_left_alone(
    alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another agent holds the task by the time it is locked."""
    worker, other = acting(alice, "worker"), acting(bob, "other")
    task = held(worker)
    lock = services.task_lock

    def late(actor: Actor, task_id: UUID) -> Task:
        monkeypatch.setattr(services, "task_lock", lock)
        services.task_release(actor=Actor(door="rest", user=bob), task_id=task_id)
        task_claim(actor=other, task_id=task_id)
        return lock(actor, task_id)

    monkeypatch.setattr(services, "task_lock", late)
    assert acted(person(alice), worker, "release")["done"] == []
    task.refresh_from_db()
    assert task.holder == "bob/other"


def test_a_request_takes_on_so_many_and_says_what_remains(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "AT_ONCE", 2)
    worker = acting(alice, "worker")
    for _ in range(3):
        held(worker)
    assert [(len(answer["done"]), answer["remaining"]) for answer in [acted(person(alice), worker, "release")]] == [
        (2, 1)
    ]
    assert acted(person(alice), worker, "release")["remaining"] == 0
    assert not Claim.objects.filter(ended_at=None).exists()


# --- Stop ---------------------------------------------------------------------------------------------


def test_an_agent_is_stopped_by_its_account(alice: User, bob: User) -> None:
    token, text = ApiToken.objects.create(user=alice, name="worker")
    worker = Actor(door="mcp", user=alice, token=token, claims=True)
    task = held(worker)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    refused = person(bob).post(f"/api/agents/{agent_id(worker)}/stop/")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    assert client.get("/api/me/").status_code == 200
    answer = acted(person(alice), worker, "stop")
    assert (answer["token_revoked"], answer["done"]) == (True, [str(task.pk)])
    assert client.get("/api/me/").status_code == 401
    task.refresh_from_db()
    assert (task.status, task.holder) == ("todo", "")
    actions = AuditEntry.objects.filter(action__in=["token:revoke", "agent:stop"]).order_by("id")
    assert [(entry.action, entry.actor_name) for entry in actions] == [
        ("token:revoke", "alice"),
        ("agent:stop", "alice"),
    ]


def test_a_stop_that_was_cut_short_is_completed_by_the_next(alice: User, operator: User) -> None:
    worker = acting(alice, "worker")
    task = held(worker)
    ApiToken.objects.filter(user=alice).delete()  # as far as the first one came
    answer = acted(person(operator), worker, "stop")
    assert (answer["token_revoked"], answer["done"]) == (False, [str(task.pk)])


def test_no_token_of_another_account_is_revoked(alice: User, bob: User) -> None:
    """A row that names another account's token, for whatever reason."""
    worker = acting(alice, "worker")
    held(worker)
    theirs = ApiToken.objects.create(user=bob, name="b")[0]
    Agent.objects.filter(name="worker").update(token_id=theirs.public_id)
    assert acted(person(alice), worker, "stop")["token_revoked"] is False
    assert ApiToken.objects.filter(pk=theirs.pk).exists()


# --- Executions ---------------------------------------------------------------------------------------


def test_all_executions_of_an_agent_are_stopped(alice: User, bob: User) -> None:
    worker, other = acting(alice, "worker"), acting(alice, "other")
    mine = [execution_queue(actor=worker, task_id=held(worker).pk, script="true") for _ in range(2)]
    others = execution_queue(actor=other, task_id=held(other).pk, script="true")
    running = execution_queue(actor=worker, task_id=held(worker).pk, script="true")
    Execution.objects.filter(pk=running.pk).update(status=ExecutionStatus.STARTING)
    answer = acted(person(bob), worker, "stop-executions")
    assert len(answer["done"]) == 3
    found = Execution.objects.in_bulk([*(each.pk for each in mine), others.pk, running.pk])
    assert {found[each.pk].status for each in mine} == {"stopped"}
    assert (found[others.pk].status, found[others.pk].stop_requested_at) == ("queued", None)
    assert found[running.pk].stop_requested_at is not None
    # Those that are being ended already are no work for a second request.
    assert acted(person(bob), worker, "stop-executions")["done"] == []
    assert AuditEntry.objects.filter(action="execution:stop", actor_name="bob").count() == 3


def test_an_agent_that_shows_its_lease_alone_is_the_one_that_asked(alice: User) -> None:
    worker = acting(alice, "worker")
    task = held(worker)
    lease = Claim.objects.get(task=task).token
    execution = execution_queue(actor=replace(worker, agent_name="", lease=lease), task_id=task.pk, script="true")
    assert Execution.objects.get(pk=execution.pk).agent_id == agent_id(worker)


def test_an_agent_that_is_not_there_is_a_404(alice: User) -> None:
    for verb in ("release", "stop", "stop-executions"):
        answer = person(alice).post(f"/api/agents/999999/{verb}/")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "agent_not_found")
    malformed = person(alice).post("/api/agents/worker/release/")
    assert malformed.status_code == 404
    assert malformed.json()["error"]["details"] == {"agent_id": ["Must be a number."]}


def test_the_page_is_for_readers(alice: User, settings: Any) -> None:
    settings.TASKHUB_OPEN_READING = False
    assert APIClient().get("/agents/").status_code == 302
    page = person(alice).get("/agents/").content.decode()
    assert 'id="agents"' in page
