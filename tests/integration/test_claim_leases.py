"""Leases of claims: who holds a task, how a lease is renewed, runs out and ends, and what its holder is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.utils import timezone
from django_eventstream.models import Event
from rest_framework.test import APIClient

from taskhub.api.task_detail import task_detail
from taskhub.auth.actor import SYSTEM, Actor
from taskhub.errors import Conflict, Held, LeaseLost
from taskhub.executions.executor import Place
from taskhub.lib.leases import watch
from taskhub.models import Agent, ApiToken, AuditEntry, Claim, ExecutionStatus, Task
from taskhub.services import admission, claims, executions, notes
from taskhub.services.claims import Claimed, claim_touch, claims_expire, task_claim, task_release
from taskhub.services.executions import Outcome
from taskhub.services.tasks import task_create, task_delete, task_update
from tests.agents.calls import acting, call_as, requester_for
from tests.conftest import client_of, make_account

pytestmark = pytest.mark.django_db

LEASE_S = 900
Advance = Callable[[float], None]


def made(title: str = "t", **fields: Any) -> Task:
    return task_create(actor=SYSTEM, title=title, **fields)


def claimed(actor: Actor, **wanted: Any) -> Claimed:
    found = task_claim(actor=actor, **wanted)
    assert found is not None
    return found


def row(task: Task) -> Task:
    return Task.objects.get(pk=task.pk)


def stand(task: Task) -> tuple[str, str, str]:
    now = row(task)
    return now.status, now.assignee, now.holder


def test_a_claim_is_held_under_a_lease(alice: User, advance: Advance) -> None:
    task = made()
    found = claimed(acting(alice, "one"))
    assert found.claim is not None
    assert (found.claim.attempt, found.claim.lease_s) == (1, LEASE_S)
    assert found.claim.expires_at - timezone.now() > timedelta(seconds=LEASE_S - 60)
    assert stand(task) == ("inprogress", "alice", "alice/one")
    assert str(Agent.objects.get()) == "alice/one"
    event = json.loads(Event.objects.order_by("-eid")[0].data)["data"]
    assert (event["holder"], event["version"]) == ("alice/one", 2)


def test_two_agents_of_one_account_are_not_both_told_that_they_hold_a_task(alice: User) -> None:
    task = made()
    one, two = acting(alice, "one"), acting(alice, "two")
    claimed(one, task_id=task.pk)
    writes = [
        lambda: task_claim(actor=two, task_id=task.pk),
        lambda: task_update(actor=two, task_id=task.pk, title="u"),
        lambda: task_delete(actor=two, task_id=task.pk),
        lambda: executions.execution_queue(actor=two, task_id=task.pk, script="true"),
        lambda: executions.execution_request_stop(actor=two, task_id=task.pk),
        lambda: task_release(actor=two, task_id=task.pk),
    ]
    for write in writes:
        with pytest.raises(Held) as refused:
            write()
        assert refused.value.details is not None
        assert refused.value.details["holder"] == "alice/one"
    assert task_claim(actor=two) is None
    task_update(actor=one, task_id=task.pk, title="u")


def test_a_claim_that_is_repeated_gets_a_new_lease_and_the_old_one_is_dead(alice: User) -> None:
    task = made()
    first = claimed(acting(alice, "one")).claim
    again = claimed(acting(alice, "one"), task_id=task.pk).claim
    assert first is not None
    assert again is not None
    assert (first.pk, first.attempt) == (again.pk, again.attempt)
    assert first.token != again.token
    with pytest.raises(LeaseLost):
        task_update(actor=acting(alice, "one", lease=first.token), task_id=task.pk, title="u")
    task_update(actor=acting(alice, "one", lease=again.token), task_id=task.pk, title="u")
    # The lease says who the agent is; it is no use to another account.
    task_update(actor=acting(alice, "", lease=again.token), task_id=task.pk, title="v")
    with pytest.raises(LeaseLost):
        task_update(actor=acting(make_account("bob", "agent"), "one", lease=again.token), task_id=task.pk, title="w")


def test_a_lease_that_runs_out_gives_the_task_back(alice: User, advance: Advance) -> None:
    task = made()
    lost = claimed(acting(alice, "one"))
    assert claims_expire() == []
    advance(LEASE_S - 1)
    assert claims_expire() == []
    advance(1)
    assert claims_expire() == [task.pk]
    assert claims_expire() == []
    assert stand(task) == ("todo", "", "")
    ready, event = (json.loads(row.data) for row in Event.objects.order_by("-eid")[:2])
    assert (event["event"], event["data"]["reason"]) == ("task_updated", "lease_expired")
    assert (ready["event"], ready["data"]["task_id"]) == ("task_ready", str(task.pk))
    entry = AuditEntry.objects.filter(task_id=task.pk).order_by("-id")[0]
    assert (entry.door, entry.changes["holder"]) == ("job", ["alice/one", ""])
    assert entry.changes["reason"] == [None, "lease_expired"]
    assert lost.claim is not None
    for actor in (acting(alice, "one"), acting(alice, "one", lease=lost.claim.token)):
        with pytest.raises(LeaseLost) as refused:
            task_update(actor=actor, task_id=task.pk, title="u")
        assert refused.value.details == {"status": "todo", "assignee": "", "reason": "lost"}
    # Another agent has it by now, and the first one is still told that its lease was lost.
    assert claimed(acting(alice, "two")).task.pk == task.pk
    with pytest.raises(LeaseLost):
        task_update(actor=acting(alice, "one"), task_id=task.pk, title="u")


def test_taking_one_back_prolongs_no_other(alice: User, advance: Advance, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a while, in which the leases of others go on."""
    one, other = made(), made()
    claimed(acting(alice, "one"), task_id=one.pk)
    claims_expire()
    advance(LEASE_S)
    claimed(acting(alice, "two"), task_id=other.pk)
    expire = claims._expire

    def slowly(seen: Claim) -> bool:
        advance(60)
        return expire(seen)

    monkeypatch.setattr(claims, "_expire", slowly)
    assert claims_expire() == [one.pk]
    advance(LEASE_S - 60)
    assert claims_expire() == [other.pk]


def test_a_lost_task_that_is_claimed_again_is_ones_own_again(alice: User, advance: Advance) -> None:
    task = made()
    claimed(acting(alice, "one"))
    claims_expire()
    advance(LEASE_S)
    claims_expire()
    found = claimed(acting(alice, "one"), task_id=task.pk)
    assert found.claim is not None
    assert found.claim.attempt == 2
    task_update(actor=acting(alice, "one"), task_id=task.pk, title="u")


def calls_of(holder: Actor, task: Task) -> dict[str, Callable[[], Any]]:
    def read_over_mcp(name: str) -> None:
        requester = requester_for(holder.user, holder.token)
        assert not call_as(requester, name, task_id=str(task.pk), **{"as": holder.agent_name}).failed

    def read_over_rest(path: str) -> None:
        assert holder.token is not None
        client = APIClient()
        client.force_authenticate(holder.user, holder.token)
        assert client.get(path).status_code == 200

    return {
        "change": lambda: task_update(actor=holder, task_id=task.pk, title=f"{timezone.now()}"),
        "no change": lambda: task_update(actor=holder, task_id=task.pk),
        "touch": lambda: claim_touch(actor=holder, task_id=task.pk),
        "get_task": lambda: read_over_mcp("get_task"),
        "GET": lambda: read_over_rest(f"/api/tasks/{task.pk}/?as={holder.agent_name}"),
    }


@pytest.mark.parametrize("call", ["change", "no change", "touch", "get_task", "GET"])
def test_any_call_of_the_holder_renews_the_lease(alice: User, advance: Advance, call: str) -> None:
    task = made()
    holder = acting(alice, "one")
    claimed(holder)
    version = row(task).version
    for _ in range(6):
        claims_expire()
        advance(LEASE_S / 2)
        calls_of(holder, task)[call]()
        assert claims_expire() == []
    if call != "change":
        assert row(task).version == version  # no event and no version tell it
    advance(LEASE_S - 1)
    assert claims_expire() == []
    advance(1)
    assert claims_expire() == [task.pk]


def test_a_lease_is_written_only_when_a_third_of_it_is_used_up(alice: User, advance: Advance) -> None:
    task = made()
    holder = acting(alice, "one")
    claimed(holder)

    def until() -> datetime:
        return Claim.objects.get().expires_at

    first = until()
    advance(LEASE_S / 3 - 2)
    claim_touch(actor=holder, task_id=task.pk)
    assert until() == first
    advance(3)
    claim_touch(actor=holder, task_id=task.pk)
    assert until() > first


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(hours=-1)], ids=["forward", "back"])
def test_a_lease_lasts_for_its_length_whatever_the_wall_clock_says(
    alice: User, advance: Advance, step: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = made()
    holder = acting(alice, "one")
    claimed(holder)
    now = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: now() + step)
    for _ in range(4):
        assert claims_expire() == []
        advance(LEASE_S / 2)
        claim_touch(actor=holder, task_id=task.pk)
    assert claims_expire() == []
    advance(LEASE_S)
    assert claims_expire() == [task.pk]


def test_a_renewal_in_the_last_moment_wins(alice: User, advance: Advance, monkeypatch: pytest.MonkeyPatch) -> None:
    task = made()
    claimed(acting(alice, "one"))
    claims_expire()
    advance(LEASE_S)
    judge = watch.lease_is_past

    def judged(key: Any, *rest: Any) -> bool:
        if key[0] == "claim":
            claim_touch(actor=acting(alice, "one"), task_id=task.pk)
        return judge(key, *rest)

    monkeypatch.setattr(watch, "lease_is_past", judged)
    assert claims_expire() == []
    assert stand(task)[0] == "inprogress"


@pytest.mark.django_db(transaction=True)
def test_a_lease_that_runs_out_while_its_holder_ends_the_task_is_lost_or_handed_over(
    alice: User, advance: Advance
) -> None:
    for _ in range(4):
        task, start = made(), threading.Barrier(2)
        claim = claimed(acting(alice, "one"), task_id=task.pk).claim
        assert claim is not None
        claims_expire()
        advance(LEASE_S)
        holder = acting(alice, "one", lease=claim.token)

        def end(task: Task = task, start: threading.Barrier = start, holder: Actor = holder) -> str:
            try:
                start.wait(60)
                task_update(actor=holder, task_id=task.pk, status="done")
            except LeaseLost:
                return "lost"
            finally:
                connections.close_all()
            return "handed_over"

        def expire(start: threading.Barrier = start) -> None:
            try:
                start.wait(60)
                claims_expire()
            finally:
                connections.close_all()

        with ThreadPoolExecutor(2) as pool:
            ending, expiring = pool.submit(end), pool.submit(expire)
            told, _ = ending.result(), expiring.result()
        claim.refresh_from_db()
        assert claim.end == told
        assert stand(task) == (("todo", "", "") if told == "lost" else ("done", "alice", ""))


def test_a_process_that_sees_a_lease_late_waits_for_what_is_left_of_it(alice: User, advance: Advance) -> None:
    task = made()
    claimed(acting(alice, "one"))
    advance(LEASE_S - 10)
    assert claims_expire() == []  # its first look
    advance(10)
    assert claims_expire() == [task.pk]


def start(task: Task, actor: Actor) -> Any:
    queued = executions.execution_queue(actor=actor, task_id=task.pk, script="sleep 2400")
    admission.executions_admit()
    execution = executions.execution_claim_start(execution_id=queued.pk, lease_s=60)
    assert execution is not None
    place = Place(execution.pk, "sandbox-1", execution.session_name, "command-1")
    executions.execution_mark_started(execution=execution, place=place)
    return execution


def test_a_long_execution_keeps_its_lease_without_a_call(alice: User, advance: Advance) -> None:
    task = made()
    holder = acting(alice, "one")
    claimed(holder)
    execution = start(task, holder)
    for _ in range(40 * 60 // 30):
        advance(30)
        assert claims_expire() == []
    executions.execution_finish(execution=execution, outcome=Outcome(ExecutionStatus.COMPLETED, exit_code=0))
    # Afterwards the lease begins anew.
    claims_expire()
    advance(LEASE_S - 1)
    assert claims_expire() == []
    advance(1)
    assert claims_expire() == [task.pk]


@pytest.mark.parametrize(
    ("change", "status"),
    [({"status": "todo"}, "todo"), ({"status": "review"}, "review"), ({"status": "done"}, "done")],
)
def test_the_holders_own_moves_end_its_claim(alice: User, change: dict[str, str], status: str) -> None:
    task = made()
    holder = acting(alice, "one")
    found = claimed(holder)
    task_update(actor=holder, task_id=task.pk, **change)
    assert stand(task) == (status, "" if status == "todo" else "alice", "")
    assert found.claim is not None
    with pytest.raises(LeaseLost):
        task_update(actor=acting(alice, "one", lease=found.claim.token), task_id=task.pk, title="u")
    task_update(actor=holder, task_id=task.pk, title="u")  # it lost nothing


@pytest.mark.parametrize(
    "act",
    [
        lambda person, task: task_update(actor=person, task_id=task.pk, status="review"),
        lambda person, task: task_update(actor=person, task_id=task.pk, assignee="bob"),
        lambda person, task: task_release(actor=person, task_id=task.pk),
    ],
    ids=["status", "assignee", "release"],
)
def test_a_person_ends_a_claim_and_its_holder_is_told(alice: User, operator: User, act: Any) -> None:
    task = made()
    found = claimed(acting(alice, "one"))
    act(Actor(door="admin", user=operator), task)
    now = row(task)
    assert now.holder == ""
    assert found.claim is not None
    for actor in (acting(alice, "one"), acting(alice, "one", lease=found.claim.token)):
        with pytest.raises(LeaseLost) as refused:
            task_update(actor=actor, task_id=task.pk, title="u")
        details = {"status": now.status, "assignee": now.assignee, "reason": "taken", "by": "operator"}
        assert refused.value.details == details


def test_a_persons_edits_do_not_end_a_claim(alice: User, operator: User) -> None:
    task = made()
    claimed(acting(alice, "one"))
    task_update(actor=Actor(door="admin", user=operator), task_id=task.pk, title="u", description="d", priority="low")
    task_update(actor=acting(alice, "one"), task_id=task.pk, status="review")
    assert stand(task) == ("review", "alice", "")


def test_an_operators_token_may_insist_and_that_is_audited(alice: User, operator: User) -> None:
    task = made()
    claimed(acting(alice, "one"))
    for actor in (acting(make_account("bob", "agent"), "b", force=True), acting(operator, "o")):
        with pytest.raises(Held):
            task_update(actor=actor, task_id=task.pk, title="u")
    task_update(actor=acting(operator, "o", force=True), task_id=task.pk, status="todo")
    assert stand(task) == ("todo", "alice", "")
    assert AuditEntry.objects.filter(task_id=task.pk, action="claim:override", actor_name="operator").exists()
    with pytest.raises(LeaseLost):
        task_update(actor=acting(alice, "one"), task_id=task.pk, title="u")


def lose(actor: Actor, task: Task, advance: Advance) -> None:
    claimed(actor, task_id=task.pk)
    claims_expire()
    advance(LEASE_S)
    assert claims_expire() == [task.pk]


def test_three_lost_attempts_hold_a_task_back_until_a_person_releases_it(
    alice: User, operator: User, advance: Advance
) -> None:
    task = made()
    for n in range(3):
        assert not row(task).held_back
        lose(acting(alice, f"agent {n}"), task, advance)
    assert row(task).held_back
    fresh = acting(alice, "fresh")
    assert task_claim(actor=fresh) is None
    for act in (lambda: task_claim(actor=fresh, task_id=task.pk), lambda: start(task, fresh)):
        with pytest.raises(Conflict) as refused:
            act()
        assert refused.value.code == "held_back"
    with pytest.raises(Conflict):
        task_release(actor=fresh, task_id=task.pk)
    task_release(actor=Actor(door="rest", user=operator), task_id=task.pk)
    assert not row(task).held_back
    found = claimed(fresh)
    assert found.claim is not None
    assert found.claim.attempt == 1


def test_a_persons_release_lets_agents_claim_whatever_the_status_is(alice: User, settings: Any) -> None:
    task = made()
    Task.objects.filter(pk=task.pk).update(held_back=True, failures=3)
    # A plain request of spec 003, which claims nothing.
    task_update(actor=replace(acting(alice, "plain"), claims=False), task_id=task.pk, status="inprogress")
    assert row(task).held_back
    task_release(actor=Actor(door="rest", user=alice), task_id=task.pk)
    assert (row(task).status, row(task).held_back, row(task).ready) == ("todo", False, True)
    assert claimed(acting(alice, "fresh")).task.pk == task.pk


def test_a_release_fails_only_after_a_run_that_failed(alice: User, settings: Any) -> None:
    settings.TASKHUB_ATTEMPTS = 1
    easy, hard = made("easy"), made("hard")
    holder = acting(alice, "one")
    for task in (easy, hard):
        claimed(holder, task_id=task.pk)
    execution = start(hard, holder)
    executions.execution_finish(execution=execution, outcome=Outcome(ExecutionStatus.FAILED, exit_code=1))
    for task in (easy, hard):
        task_release(actor=holder, task_id=task.pk)
    assert (row(easy).held_back, row(hard).held_back) == (False, True)
    assert sorted(Claim.objects.values_list("end", flat=True)) == ["failed", "released"]


def test_review_begins_the_count_anew(alice: User, advance: Advance) -> None:
    task = made()
    for _ in range(2):
        lose(acting(alice, "one"), task, advance)
    claimed(acting(alice, "one"))
    task_update(actor=acting(alice, "one"), task_id=task.pk, status="review")
    task_update(actor=SYSTEM, task_id=task.pk, status="todo")
    lose(acting(alice, "one"), task, advance)
    assert not row(task).held_back


def test_what_was_sent_back_is_offered_first_to_the_agent_that_handed_it_over(alice: User) -> None:
    bob = make_account("bob", "agent")
    task = made("mine")
    claimed(acting(alice, "one"))
    task_update(actor=acting(alice, "one"), task_id=task.pk, status="review")
    made("urgent", priority="high")
    task_update(actor=acting(bob, "reviewer"), task_id=task.pk, status="todo")
    # It is withheld from no agent, though it is assigned to alice.
    assert stand(task) == ("todo", "alice", "")
    for actor, title in [(acting(alice, "two"), "urgent"), (acting(alice, "one"), "mine")]:
        assert claimed(actor).task.title == title
    task_update(actor=acting(alice, "one"), task_id=task.pk, status="review")
    task_update(actor=acting(bob, "reviewer"), task_id=task.pk, status="todo")
    assert claimed(acting(bob, "b")).task.title == "mine"


def test_what_a_person_sends_back_is_claimed_again_with_the_remark(alice: User, operator: User) -> None:
    """As the pages send it back: to the first status, with a remark; the agent claims without an id."""
    task = made()
    claimed(acting(alice, "one"))
    task_update(actor=acting(alice, "one"), task_id=task.pk, status="review")
    notes.task_set_status(actor=Actor(door="rest", user=operator), task_id=task.pk, status="todo", note="Shorter.")
    assert stand(task) == ("todo", "alice", "")
    again = claimed(acting(alice, "one")).task
    assert again.pk == task.pk
    told = task_detail(alice, again)["notes"][0]
    assert (told["kind"], told["text"], told["author"]) == ("review", "Shorter.", "operator")


def test_what_is_assigned_when_it_is_sent_back_is_for_that_account(alice: User, operator: User) -> None:
    task = made()
    claimed(acting(alice, "one"))
    task_update(actor=acting(alice, "one"), task_id=task.pk, status="review")
    task_update(actor=Actor(door="rest", user=operator), task_id=task.pk, status="todo", assignee="bob")
    assert task_claim(actor=acting(alice, "one")) is None
    assert claimed(acting(make_account("bob", "agent"), "b")).task.pk == task.pk


def test_what_an_agent_released_is_offered_to_it_last(alice: User) -> None:
    task = made("released", priority="high")
    claimed(acting(alice, "one"))
    task_release(actor=acting(alice, "one"), task_id=task.pk)
    made("other", priority="low")
    assert claimed(acting(alice, "one")).task.title == "other"
    assert claimed(acting(alice, "one")).task.title == "released"


def test_a_private_task_stays_with_its_account_when_a_lease_runs_out(alice: User, advance: Advance) -> None:
    task = made(private=True, assignee="alice")
    lose(acting(alice, "one"), task, advance)
    assert stand(task) == ("todo", "alice", "")
    assert claimed(acting(alice, "two")).task.pk == task.pk


# --- REST and MCP ------------------------------------------------------------------------------------


def test_a_plain_request_of_spec_003_never_makes_a_lease(api: APIClient) -> None:
    first, second = made("first"), made("second")
    assert api.put(f"/api/tasks/status/{first.pk}", {"new_status": "inprogress"}, format="json").status_code == 200
    assert api.post(f"/api/exec/{second.pk}", {"script_content": "true"}, format="json").status_code == 202
    assert not Claim.objects.exists()
    assert (row(first).holder, row(second).holder) == ("", "")


@pytest.mark.parametrize("of", ["status", "exec"])
def test_a_request_with_a_name_claims(api: APIClient, of: str) -> None:
    task = made()
    if of == "status":
        answer = api.put(f"/api/tasks/status/{task.pk}?as=w1", {"new_status": "inprogress"}, format="json")
    else:
        answer = api.post(f"/api/exec/{task.pk}?as=w1", {"script_content": "true"}, format="json")
    assert answer.status_code in {200, 202}
    assert answer["TaskHub-Lease"] == Claim.objects.get().token
    assert stand(task) == ("inprogress", "alice", "alice/w1")
    refused = api.patch(f"/api/tasks/{task.pk}/?as=w2", {"title": "u"}, format="json")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "held")
    lease = {"TaskHub-Lease": answer["TaskHub-Lease"]}
    assert api.patch(f"/api/tasks/{task.pk}/", {"title": "u"}, format="json", headers=lease).status_code == 200
    wrong = api.patch(f"/api/tasks/{task.pk}/", {"title": "u"}, format="json", headers={"TaskHub-Lease": "x"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (409, "lease_lost")


def test_claims_and_releases_over_rest(api: APIClient) -> None:
    task = made()
    body = api.post(f"/api/tasks/{task.pk}/claim", {"lease_s": 60}, format="json").json()
    assert (body["task"]["holder"], body["lease"]["lease_s"], body["lease"]["attempt"]) == (row(task).holder, 60, 1)
    refused = api.post(f"/api/tasks/{task.pk}/claim?as=other", {}, format="json")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "held")
    released = api.post(f"/api/tasks/{task.pk}/release", headers={"TaskHub-Lease": body["lease"]["token"]})
    assert (released.status_code, released.json()["holder"], released.json()["status"]) == (200, "", "todo")
    again = api.post(f"/api/tasks/{task.pk}/release")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "not_held")
    for name, value in [("lease_s", 9), ("lease_s", 86_401), ("lease_s", "x"), ("length", 60)]:
        assert api.post("/api/tasks/claim/", {name: value}, format="json").status_code == 400
    # A name with a line end, or that turns the text around it, would look like another agent's.
    for query in ("as=", "as=%00", "as=a%0Ab", "as=%E2%80%AEa", f"as={'x' * 101}", "force=yes", "name=x"):
        assert api.post(f"/api/tasks/claim/?{query}", {}, format="json").status_code == 400, query
    long = {"TaskHub-Lease": "x" * 65}
    assert api.post(f"/api/tasks/{task.pk}/release", headers=long).status_code == 400


def test_a_lease_says_which_agent_claims_again(api: APIClient) -> None:
    task = made()
    first = api.post(f"/api/tasks/{task.pk}/claim?as=one", {}, format="json").json()["lease"]["token"]
    assert api.post(f"/api/tasks/{task.pk}/claim", {}, format="json").status_code == 409
    again = api.post(f"/api/tasks/{task.pk}/claim", {}, format="json", headers={"TaskHub-Lease": first}).json()
    assert again["task"]["holder"] == "alice/one"
    assert (again["lease"]["attempt"], again["lease"]["token"] == first) == (1, False)


def test_a_person_claims_without_a_lease(alice: User) -> None:
    task = made()
    client = APIClient()
    client.force_login(alice)
    body = client.post("/api/tasks/claim/", {}, format="json").json()
    assert (body["task"]["id"], body["task"]["holder"], body["lease"]) == (str(task.pk), "", None)


def test_a_lease_is_repeated_only_while_it_lives(api: APIClient) -> None:
    task = made()
    key = {"Idempotency-Key": "one"}
    first = api.post("/api/tasks/claim/", {}, format="json", headers=key).json()
    assert api.post("/api/tasks/claim/", {}, format="json", headers=key).json() == first
    api.post(f"/api/tasks/{task.pk}/release")
    assert api.post("/api/tasks/claim/", {}, format="json", headers=key).json() == {**first, "lease": None}
    # Another agent of the account has keys of its own.
    other = api.post("/api/tasks/claim/?as=other", {}, format="json", headers=key).json()
    assert other["lease"]["token"] != first["lease"]["token"]


def test_agents_over_mcp_claim_what_they_begin(alice: User) -> None:
    token = ApiToken.objects.create(user=alice, name="laptop")[0]
    requester = requester_for(alice, token)
    first, second = made("first"), made("second")
    begun = call_as(requester, "execute_task", task_id=str(first.pk), script_content="true", **{"as": "w1"}).body
    assert begun["lease"]["token"] == Claim.objects.get().token
    set_ = call_as(requester, "set_task_status", task_id=str(second.pk), new_status="inprogress").body
    assert (row(second).holder, set_["lease"]["attempt"]) == ("alice/laptop", 1)
    held = call_as(requester, "update_task", task_id=str(first.pk), title="u").body["error"]
    assert (held["code"], held["details"]["holder"]) == ("held", "alice/w1")
    lease = begun["lease"]["token"]
    assert not call_as(requester, "update_task", task_id=str(first.pk), title="u", lease=lease).failed
    lost = call_as(requester, "stop_execution", task_id=str(first.pk), lease="wrong").body["error"]
    assert lost["code"] == "lease_lost"
    assert lost["next"]


def test_the_maker_of_a_task_is_known(api: APIClient) -> None:
    body = api.post("/api/tasks/", {"title": "t"}, format="json").json()
    assert body["created_by"] == "alice"


def test_an_agents_row_is_written_at_most_once_a_minute(alice: User, advance: Advance) -> None:
    task = made()
    claimed(acting(alice, "one"))
    seen = Agent.objects.get().last_seen_at
    advance(59)
    task_update(actor=acting(alice, "one"), task_id=task.pk, title="u")
    assert Agent.objects.get().last_seen_at == seen
    advance(2)
    task_update(actor=acting(alice, "one"), task_id=task.pk, title="v")
    assert Agent.objects.get().last_seen_at > seen


# --- Roles of tokens ---------------------------------------------------------------------------------


def test_a_token_may_do_no_more_than_its_role(operator: User) -> None:
    made_by = client_of(operator)
    weak = made_by.post("/api/tokens/", {"name": "weak", "role": "agent"}, format="json").json()
    assert weak["role"] == "agent"
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {weak['token']}")
    assert client.get("/api/me/").json() == {"name": "operator", "role": "agent"}
    assert client.post("/api/tasks/", {"title": "t"}, format="json").status_code == 201
    assert client.get("/api/admission/accounts/").status_code == 403
    private = made("p", private=True, assignee="bob")
    assert client.get(f"/api/tasks/{private.pk}/").status_code == 404
    # What it makes has at most its role.
    child = client.post("/api/tokens/", {"name": "child", "role": "operator"}, format="json").json()
    assert child["role"] == "agent"


def test_a_tokens_role_is_at_most_its_accounts(alice: User) -> None:
    body = client_of(alice).post("/api/tokens/", {"name": "n", "role": "operator"}, format="json").json()
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {body['token']}")
    assert client.get("/api/me/").json()["role"] == "agent"
