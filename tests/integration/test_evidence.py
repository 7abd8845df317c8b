"""Verdicts: what they say, what they are bound to, when they are void, and what `done` needs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from taskhub.auth.actor import SYSTEM, Actor
from taskhub.errors import Conflict, ExecutionActive, Forbidden, Invalid, NotFound
from taskhub.models import ApiToken, AuditEntry, Claim, Execution, ExecutionStatus, Note, Task, Verdict
from taskhub.selectors.evidence import evidence_of
from taskhub.selectors.executions import execution_get_for
from taskhub.services.claims import claims_expire, task_claim
from taskhub.services.environments import environment_create, environment_update
from taskhub.services.evidence import Unverified
from taskhub.services.executions import Outcome, execution_finish, execution_queue, execution_request_stop
from taskhub.services.tasks import task_create, task_update
from taskhub.services.verdicts import verdicts_void
from taskhub.services.verifications import (
    script_of,
    verification_request,
    verifications_begin,
    verifications_retry,
)
from tests.agents.calls import call, result
from tests.conftest import make_account
from tests.evidence import FAILED, PASSED, begun, ended, ran, verified

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]

REQUIRED = {"verify": "make test", "verify_policy": "required"}


@pytest.fixture
def task(actor: Actor) -> Task:
    return task_create(actor=actor, title="t", status="review", **REQUIRED)


def agent_of(user: User) -> Actor:
    return Actor(door="mcp", user=user, token=ApiToken(user=user, name="agent"), claims=True)


def done(actor: Actor, task: Task, **fields: Any) -> Task:
    return task_update(actor=actor, task_id=task.pk, status="done", **fields)


# What `done` needs.


def test_a_required_verification_lets_the_task_be_done(actor: Actor, task: Task) -> None:
    with pytest.raises(Unverified) as refused:
        done(actor, task)
    assert refused.value.code == "unverified"
    assert refused.value.details == {
        "policy": "required",
        "verified": None,
        "rest": f"POST /api/tasks/{task.pk}/verify",
        "mcp": "execute_task(verify=true)",
    }
    assert Task.objects.get().status == "review"
    assert verified(actor, task.pk).verified == Verdict.PASSED
    assert done(actor, task).verified == Verdict.PASSED


@pytest.mark.parametrize("policy", ["off", "warn"])
def test_a_laxer_policy_leaves_the_status_as_it_is(api: APIClient, actor: Actor, policy: str) -> None:
    task = task_create(actor=actor, title="t", verify="make test", verify_policy=policy)
    answer = api.put(f"/api/tasks/status/{task.pk}", {"new_status": "done"}, format="json")
    assert (answer.status_code, answer.json()["status"], answer.json()["verified"]) == (200, "done", None)


def test_a_verdict_that_does_not_pass_is_none_for_done(actor: Actor, task: Task) -> None:
    for outcome in (FAILED, Outcome(ExecutionStatus.FAILED, exit_code=127)):
        verified(actor, task.pk, outcome)
        with pytest.raises(Unverified):
            done(actor, task)
        task_update(actor=actor, task_id=task.pk, description=str(outcome))


def test_the_stricter_policy_and_both_scripts_are_in_force(actor: Actor) -> None:
    environment_create(actor=SYSTEM, name="backend", verify="make lint\r\n", verify_policy="required")
    task = task_create(actor=actor, title="t", environment="backend", verify="make test", verify_policy="warn")
    evidence = evidence_of(task)
    assert (evidence.policy, evidence.scripts) == ("required", ["make lint\n", "make test"])
    script = script_of(evidence.scripts)
    assert script.index("make lint") < script.index("make test")


def test_the_hubs_environment_is_that_of_tasks_that_name_none(actor: Actor, settings: Any) -> None:
    environment_create(actor=SYSTEM, name="usual", verify="true", verify_policy="required")
    settings.TASKHUB_DEFAULT_ENVIRONMENT = "usual"
    task = task_create(actor=actor, title="t")
    with pytest.raises(Unverified):
        done(actor, task)


def test_done_waits_for_the_end_of_a_run(actor: Actor, task: Task) -> None:
    """Its end may change what was verified."""
    verified(actor, task.pk)
    run = execution_queue(actor=actor, task_id=task.pk, script="true")
    with pytest.raises(Unverified):
        done(actor, task)
    ended(run)
    assert done(actor, task).status == "done"


def test_a_task_is_closed_without_a_verdict_and_not_opened_to_done(actor: Actor, task: Task) -> None:
    assert done(actor, task, closed_as="cancelled").status == "done"
    with pytest.raises(Unverified):
        task_update(actor=actor, task_id=task.pk, closed_as="")
    assert Task.objects.get().closed_as == "cancelled"


def test_no_task_is_done_from_its_creation(actor: Actor) -> None:
    with pytest.raises(Unverified):
        task_create(actor=actor, title="t", status="done", **REQUIRED)
    assert not Task.objects.exists()


def test_operators_override_with_a_reason_that_is_kept_and_audited(actor: Actor, operator: User, task: Task) -> None:
    with pytest.raises(Forbidden):
        done(actor, task, override_reason="I say so")
    forced = Actor(door="rest", user=operator, token=ApiToken(user=operator), force=True)
    with pytest.raises(Unverified):
        done(forced, task)
    done(forced, task, override_reason="the test service is gone")
    entry = AuditEntry.objects.filter(action="task:update").first()
    assert entry is not None
    assert entry.changes["override_reason"] == ["", "the test service is gone"]
    shown = result(operator, "get_task", task_id=str(task.pk))
    assert (shown["status"], shown["override_reason"]) == ("done", "the test service is gone")
    task_update(actor=forced, task_id=task.pk, status="inprogress")
    assert Task.objects.get().override_reason == ""


def test_a_reason_is_only_for_done(operator: User, task: Task) -> None:
    actor = Actor(door="rest", user=operator)
    with pytest.raises(Invalid):
        task_update(actor=actor, task_id=task.pk, title="u", override_reason="why not")
    verified(actor, task.pk)
    assert done(actor, task, override_reason="not needed").override_reason == ""


# Who may set what is checked.


def test_an_agent_sets_the_check_at_creation_and_then_only_makes_it_stricter(alice: User) -> None:
    agent = agent_of(alice)
    task = task_create(actor=agent, title="t", verify="make test", verify_policy="warn")
    task_update(actor=agent, task_id=task.pk, verify_policy="required")
    for fields in ({"verify_policy": "warn"}, {"verify_policy": "off"}, {"verify": "true"}, {"verify": ""}):
        with pytest.raises(Forbidden) as refused:
            task_update(actor=agent, task_id=task.pk, **fields)
        assert refused.value.code == "evidence_locked"
    person = replace(agent, token=None)
    assert task_update(actor=person, task_id=task.pk, verify="make", verify_policy="off").verify == "make"


def test_an_agent_moves_no_task_out_of_the_environment_that_checks_it(alice: User, operator: User) -> None:
    environment_create(actor=SYSTEM, name="strict", verify="make test", verify_policy="required")
    environment_create(actor=SYSTEM, name="loose")
    agent = agent_of(alice)
    task = task_create(actor=agent, title="t", environment="strict")
    with pytest.raises(Forbidden):
        task_update(actor=agent, task_id=task.pk, environment="loose")
    assert task_update(actor=agent_of(operator), task_id=task.pk, environment="loose").environment is not None


def test_a_required_check_needs_a_script(actor: Actor) -> None:
    with pytest.raises(Invalid):
        task_create(actor=actor, title="t", verify_policy="required", verify=" \n")
    task = task_create(actor=actor, title="t")
    with pytest.raises(Invalid):
        task_update(actor=actor, task_id=task.pk, verify_policy="required")


def test_no_script_is_set_for_an_environment_that_its_writer_may_not_use(actor: Actor, task: Task) -> None:
    environment_create(actor=SYSTEM, name="closed", allowed=["alice"])
    task_update(actor=actor, task_id=task.pk, environment="closed")
    bob = Actor(door="rest", user=make_account("bob", "agent"))
    with pytest.raises(NotFound):
        task_update(actor=bob, task_id=task.pk, verify="cat secrets")
    with pytest.raises(NotFound):
        verification_request(actor=bob, task_id=task.pk)
    assert verification_request(actor=actor, task_id=task.pk).is_new


# Verifications.


def test_a_verification_touches_neither_status_nor_lease_nor_attempts(alice: User, task: Task) -> None:
    agent = agent_of(alice)
    task_update(actor=replace(agent, token=None), task_id=task.pk, status="todo")
    task_claim(actor=agent, task_id=task.pk)
    run = ended(execution_queue(actor=agent, task_id=task.pk, script="true"))
    before = Claim.objects.values("token", "expires_at", "attempt").get()
    held = Task.objects.get()
    other = agent_of(make_account("bob", "agent"))  # who does not hold it
    verification = verification_request(actor=other, task_id=task.pk).execution
    ended(verification, Outcome(ExecutionStatus.LOST, error_code="sandbox_gone"))
    after = Task.objects.get()
    assert Claim.objects.values("token", "expires_at", "attempt").get() == before
    same = ("status", "assignee", "holder", "attempts", "failures", "held_back")
    assert [getattr(after, name) for name in same] == [getattr(held, name) for name in same]
    assert execution_get_for(user=alice, task_id=task.pk).pk == run.pk
    Claim.objects.update(lease_s=0)
    begun(verification_request(actor=other, task_id=task.pk).execution)
    assert claims_expire() == [task.pk]  # a verification keeps no lease
    assert Claim.objects.get().end == "lost"


def test_a_second_request_answers_the_verification_that_is_under_way(api: APIClient, task: Task) -> None:
    first = api.post(f"/api/tasks/{task.pk}/verify/", {}, format="json")
    second = api.post(f"/api/tasks/{task.pk}/verify/", {}, format="json")
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json() == second.json()
    assert first.json()["kind"] == "verify"
    ended(Execution.objects.get())
    third = api.post(f"/api/tasks/{task.pk}/verify/", {}, format="json")
    assert (third.status_code, third.json()["cached"], third.json()["verified"]) == (200, True, "passed")
    assert Execution.objects.count() == 1
    again = api.post(f"/api/tasks/{task.pk}/verify/", {"again": True}, format="json")
    assert (again.status_code, again.json()["error"]["code"]) == (403, "evidence_locked")


def test_nothing_is_verified_while_a_run_is_active(actor: Actor, task: Task) -> None:
    execution_queue(actor=actor, task_id=task.pk, script="true")
    with pytest.raises(ExecutionActive):
        verification_request(actor=actor, task_id=task.pk)


@pytest.mark.parametrize("is_running", [False, True])
def test_a_run_supersedes_a_verification(actor: Actor, task: Task, is_running: bool) -> None:
    verification = verification_request(actor=actor, task_id=task.pk).execution
    running = begun(verification) if is_running else verification
    run = execution_queue(actor=actor, task_id=task.pk, script="true")
    if is_running:
        # It ends beside the run, and what a request to stop means is the run.
        execution_finish(execution=running, outcome=PASSED)
    verification.refresh_from_db()
    assert (verification.verdict, verification.error_code) == ("unavailable", "superseded")
    assert (Task.objects.get().verified, Task.objects.get().ending) == ("", "")
    assert execution_request_stop(actor=actor, task_id=task.pk).pk == run.pk


def test_without_a_script_there_is_nothing_to_verify(actor: Actor) -> None:
    task = task_create(actor=actor, title="t", verify_policy="warn")
    with pytest.raises(Invalid) as refused:
        verification_request(actor=actor, task_id=task.pk)
    assert refused.value.code == "nothing_to_verify"


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (PASSED, "passed"),
        (FAILED, "failed"),
        (Outcome(ExecutionStatus.FAILED, exit_code=137), "failed"),
        (Outcome(ExecutionStatus.TIMED_OUT, exit_code=143), "failed"),
        (Outcome(ExecutionStatus.TIMED_OUT, error_code="ended_with_session"), "failed"),
        (Outcome(ExecutionStatus.FAILED, exit_code=75), "unavailable"),
        (Outcome(ExecutionStatus.FAILED, exit_code=126), "unavailable"),
        (Outcome(ExecutionStatus.FAILED, exit_code=127), "unavailable"),
        (Outcome(ExecutionStatus.FAILED, error_code="setup_failed"), "unavailable"),
        (Outcome(ExecutionStatus.FAILED, exit_code=127, error_code="interpreter_missing"), "unavailable"),
        (Outcome(ExecutionStatus.STOPPED, exit_code=143), "unavailable"),
        (Outcome(ExecutionStatus.LOST, error_code="sandbox_gone"), "unavailable"),
    ],
)
def test_the_end_of_a_verification_is_a_verdict(actor: Actor, task: Task, outcome: Outcome, verdict: str) -> None:
    assert verified(actor, task.pk, outcome).verified == verdict
    assert Execution.objects.get().verdict == verdict


def test_a_verification_that_the_service_failed_is_repeated_once(actor: Actor, task: Task, pass_time: Any) -> None:
    lost = Outcome(ExecutionStatus.LOST, error_code="sandbox_gone")
    verified(actor, task.pk, lost)
    assert verifications_retry() == []
    pass_time(61)
    (again,) = verifications_retry()
    ended(Execution.objects.get(pk=again), lost)
    pass_time(61)
    assert verifications_retry() == []
    assert Execution.objects.count() == 2
    assert not Note.objects.exists()


def test_failures_are_told_and_after_three_in_a_row_the_hub_asks(actor: Actor, task: Task) -> None:
    for n in range(3):
        task_update(actor=actor, task_id=task.pk, description=str(n))
        verified(actor, task.pk, FAILED, log_tail="E  assert 1 == 2\n```")
    question, *reviews = Note.objects.all()
    assert [note.kind for note in reviews] == ["review"] * 3
    assert "exit code 1" in reviews[0].text
    assert reviews[0].text.endswith("````text\nE  assert 1 == 2\n```\n````")
    assert (question.kind, question.author) == ("question", "")
    assert Task.objects.get().open_question_id == question.pk
    for n in range(3, 6):
        task_update(actor=actor, task_id=task.pk, description=str(n))
        verified(actor, task.pk, FAILED)
    assert [note.kind for note in Note.objects.all()[:2]] == ["note", "review"]  # one is open


# What a verdict is bound to.


def test_a_verdict_is_void_when_what_was_checked_changes(actor: Actor, task: Task) -> None:
    ran(actor, task.pk, report="a" * 64)
    for fields in ({"description": "other"}, {"verify": "make check"}, {"verify_policy": "warn"}):
        before = verified(actor, task.pk)
        assert before.verified == "passed"
        after = task_update(actor=actor, task_id=task.pk, **fields)
        assert (after.verified, after.version) == ("", before.version + 1)
        assert "verified" in after.changed
    verified(actor, task.pk)
    unconcerned = {"title": "u", "tags": ["a"], "priority": "high", "assignee": "bob", "status": "done"}
    assert task_update(actor=actor, task_id=task.pk, **unconcerned).verified == "passed"


def test_a_run_that_leaves_other_files_voids_the_verdict_and_the_task_stays_done(actor: Actor, task: Task) -> None:
    ran(actor, task.pk, report="a" * 64)
    verified(actor, task.pk)
    ran(actor, task.pk, report="a" * 64)
    assert Task.objects.get().verified == "passed"
    done(actor, task)
    run = begun(execution_queue(actor=actor, task_id=task.pk, script="make"))
    Task.objects.update(status="done")  # as a release without evidence would
    execution_finish(execution=run, outcome=PASSED)
    after = Task.objects.get()
    assert (after.status, after.verified) == ("done", "")


def test_what_changes_during_a_verification_makes_its_verdict_void(actor: Actor, task: Task) -> None:
    running = begun(verification_request(actor=actor, task_id=task.pk).execution)
    task_update(actor=actor, task_id=task.pk, description="other")
    execution_finish(execution=running, outcome=PASSED)
    assert (Execution.objects.get().verdict, Task.objects.get().verified) == ("passed", "")


def test_a_new_version_of_the_environment_voids_its_verdicts(actor: Actor) -> None:
    environment_create(actor=SYSTEM, name="backend", verify="make test", verify_policy="required")
    task = task_create(actor=actor, title="t", environment="backend")
    verified(actor, task.pk)
    environment_update(actor=SYSTEM, name="backend", description="larger")
    with pytest.raises(Unverified):  # also before the job has run
        done(actor, task)
    assert (verdicts_void(), verdicts_void()) == (1, 0)
    assert Task.objects.get().verified == ""


def test_tasks_in_review_are_verified_by_themselves_where_the_setting_says(
    actor: Actor, task: Task, settings: Any
) -> None:
    task_create(actor=actor, title="nothing to check", status="review")
    assert verifications_begin() == []
    settings.TASKHUB_VERIFY_IN_REVIEW = True
    (begun_id,) = verifications_begin()
    assert verifications_begin() == []
    ended(Execution.objects.get(pk=begun_id), FAILED)
    assert verifications_begin() == []
    task_update(actor=actor, task_id=task.pk, description="mended")
    assert len(verifications_begin()) == 1


# What agents are told.


def test_an_agent_is_told_that_the_hub_checks_and_how_the_last_check_ended(alice: User, actor: Actor) -> None:
    environment_create(actor=SYSTEM, name="backend", verify="make lint")
    task = task_create(actor=actor, title="t", environment="backend", **REQUIRED)
    claimed = result(alice, "claim_task", task_id=str(task.pk))["task"]
    assert claimed["verify"] == "make test"
    assert claimed["check"] == {
        "policy": "required",
        "has_script": True,
        "environment_verify": "make lint",
        "verified_at": None,
        "last": None,
        "last_stands": False,
    }
    verified(actor, task.pk, FAILED)
    check = result(alice, "get_task", task_id=str(task.pk))["check"]
    assert (check["last"]["verdict"], check["last"]["exit_code"], check["last_stands"]) == ("failed", 1, True)
    refused = call(alice, "set_task_status", task_id=str(task.pk), new_status="done")
    assert refused.body["error"]["code"] == "unverified"


def test_execute_task_verifies(alice: User, actor: Actor, task: Task) -> None:
    asked = result(alice, "execute_task", task_id=str(task.pk), verify=True)
    assert {name: asked[name] for name in ("kind", "verified", "exit_code", "log_tail")} == {
        "kind": "verify",
        "verified": None,
        "exit_code": None,
        "log_tail": "",
    }
    ended(Execution.objects.get())
    cached = result(alice, "execute_task", task_id=str(task.pk), verify=True, wait_s=0)
    assert (cached["verified"], cached["cached"]) == ("passed", True)
    refused = call(alice, "execute_task", task_id=str(task.pk), verify=True, script_content="true")
    assert refused.failed
    told = result(alice, "set_task_status", task_id=str(task.pk), new_status="done")
    assert told["verified"] == "passed"
    with pytest.raises(Conflict):
        task_update(actor=actor, task_id=task.pk, status="review")
