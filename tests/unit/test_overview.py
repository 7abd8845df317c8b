"""The overview, and which tasks are stale."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from taskhub.auth.actor import SYSTEM
from taskhub.models import HUB, AdmissionRule, Claim, Execution, ExecutionStatus, Task
from taskhub.services import notes, tasks
from taskhub.services.claims import task_claim
from taskhub.services.executions import execution_queue
from tests.agents.calls import acting, error, made, result
from tests.conftest import client_of, make_account

pytestmark = [pytest.mark.django_db]

HOUR = timedelta(hours=1)


def left_alone(hours: float = 1.1, **fields: Any) -> Task:
    """In progress without a holder, and changed so long ago."""
    task = tasks.task_create(actor=SYSTEM, title="t", status="inprogress", **fields)
    return age(task, hours)


def age(task: Task, hours: float) -> Task:
    Task.objects.filter(pk=task.pk).update(updated_at=timezone.now() - hours * HOUR)
    return task


def held(user: User, *, silent_s: float, lease_s: int = 900) -> Task:
    """By an agent whose last written call was so long ago."""
    task = tasks.task_create(actor=SYSTEM, title="held")
    assert task_claim(actor=acting(user, "worker"), task_id=task.pk, lease_s=lease_s)
    ends = timezone.now() + timedelta(seconds=lease_s - silent_s)
    Claim.objects.filter(task=task).update(expires_at=ends)
    return task


def stale(user: User) -> set[str]:
    return {row["id"] for row in result(user, "list_tasks", stale=True)["tasks"]}


def test_a_task_in_progress_without_holder_or_run_is_stale_after_an_hour(alice: User, settings: Any) -> None:
    old, fresh = left_alone(), left_alone(0.9)
    age(tasks.task_create(actor=SYSTEM, title="todo"), 5)
    assert stale(alice) == {str(old.pk)}
    settings.TASKHUB_STALE_AFTER_S = 600
    assert stale(alice) == {str(old.pk), str(fresh.pk)}


def test_what_is_or_was_executed_within_the_hour_is_not_stale(alice: User) -> None:
    running, ended, old = left_alone(), left_alone(), left_alone()
    for task, hours in ((running, 0.0), (ended, 0.5), (old, 1.5)):
        execution_queue(actor=SYSTEM, task_id=task.pk, script="true")
        if task is not running:
            at = timezone.now() - hours * HOUR
            Execution.objects.filter(task=task).update(status=ExecutionStatus.COMPLETED, finished_at=at)
        age(task, 2)
    assert stale(alice) == {str(old.pk)}


@pytest.mark.parametrize("lease_s", [900, 60])
def test_a_holder_that_was_silent_for_half_its_lease_is_stale(alice: User, lease_s: int) -> None:
    held(alice, silent_s=lease_s * 0.8, lease_s=lease_s)
    # Its call a third later is not written, so it may have been silent for less than half.
    silent = held(alice, silent_s=lease_s * 0.87, lease_s=lease_s)
    assert stale(alice) == {str(silent.pk)}


def test_a_lease_that_cannot_run_out_is_not_stale(alice: User) -> None:
    run, asked, silent = (held(alice, silent_s=899) for _ in range(3))
    ends = Claim.objects.get(task=silent).expires_at
    execution_queue(actor=acting(alice, "worker"), task_id=run.pk, script="true")
    notes.note_add(actor=acting(alice, "worker"), task_id=asked.pk, kind="question", text="?")
    Claim.objects.update(expires_at=ends)
    assert stale(alice) == {str(silent.pk)}


def test_one_condition_serves_list_filter_and_overview(alice: User) -> None:
    old = left_alone()
    fresh = tasks.task_create(actor=SYSTEM, title="todo")
    api = client_of(alice, "test")
    assert [task["id"] for task in api.get("/api/tasks/?stale=true").json()["results"]] == [str(old.pk)]
    assert [task["id"] for task in api.get("/api/tasks/?stale=false").json()["results"]] == [str(fresh.pk)]
    assert api.get("/api/tasks/?stale=no").status_code == 400
    overview = result(alice, "get_overview")
    assert overview["counts"]["stale"] == 1
    assert [task["id"] for task in overview["stale"]] == [str(old.pk)]


def test_the_overview_says_who_the_agent_is_and_what_it_holds(alice: User) -> None:
    first = made(alice, title="first")
    claim = result(alice, "claim_task", **{"as": "w1"})
    assert claim["task"]["id"] == first
    made(alice, title="other")
    overview = result(alice, "get_overview", **{"as": "w1"})
    assert overview["you"] == {"name": "alice", "role": "agent", "agent": "w1"}
    (lease,) = overview["leases"]
    assert lease.keys() == {"task_id", "title", "expires_at", "lease_s", "attempt"}
    assert (lease["task_id"], lease["attempt"]) == (first, 1)
    assert [task["id"] for task in overview["assigned"]] == [first]
    assert overview["assigned"][0]["holder"] == "alice/w1"
    expected = {"todo": 1, "inprogress": 1, "review": 0, "done": 0, "ready": 1, "stale": 0}
    assert overview["counts"] == expected
    assert result(alice, "get_overview", **{"as": "w2"})["leases"] == []


def test_the_overview_says_what_waits_for_people_the_oldest_first(alice: User) -> None:
    review = tasks.task_create(actor=SYSTEM, title="look", status="review")
    asked = tasks.task_create(actor=SYSTEM, title="which")
    notes.note_add(actor=SYSTEM, task_id=asked.pk, kind="question", text="?")
    age(asked, 3)
    overview = result(alice, "get_overview")
    assert overview["waiting_for"] == {"person": 0, "answer": 1, "review": 1}
    assert [(task["id"], task["waiting_for"]) for task in overview["waiting"]] == [
        (str(asked.pk), "answer"),
        (str(review.pk), "review"),
    ]


def test_a_pause_is_told(alice: User) -> None:
    assert result(alice, "get_overview")["paused"] is False
    rule = AdmissionRule.objects.create(account="alice", paused=True)
    assert result(alice, "get_overview")["paused"] is True
    AdmissionRule.objects.filter(pk=rule.pk).update(paused_until=timezone.now() - HOUR)
    assert result(alice, "get_overview")["paused"] is False
    AdmissionRule.objects.create(account=HUB, paused=True)
    assert result(make_account("vera", "viewer"), "get_overview")["paused"] is True


def test_private_tasks_of_others_are_neither_shown_nor_counted(alice: User) -> None:
    left_alone(assignee="bob", private=True)
    overview = result(alice, "get_overview")
    assert set(overview["counts"].values()) == {0}
    assert overview["stale"] == []
    bob = result(make_account("bob", "agent"), "get_overview")
    assert (bob["counts"]["stale"], len(bob["assigned"])) == (1, 1)


def test_a_viewer_and_one_without_a_token_have_an_overview_too(anonymous: Any, settings: Any) -> None:
    settings.TASKHUB_OPEN_READING = True
    assert result(None, "get_overview")["you"] == {"name": "", "role": "viewer", "agent": ""}
    assert anonymous.get("/api/overview/").json()["you"] == {"name": "", "role": "viewer", "agent": ""}


# --- Tasks that are created together -------------------------------------------------------------------


def test_tasks_are_created_with_references_between_them(alice: User) -> None:
    before = made(alice, title="before")
    given = [
        {"title": "last", "blocked_by": ["build", "docs"]},
        {"title": "build", "ref": "build", "blocked_by": [before]},
        {"title": "docs", "ref": "docs"},
    ]
    rows = result(alice, "create_tasks", tasks=given)["tasks"]
    assert [row.get("ref") for row in rows] == [None, "build", "docs"]
    assert rows[0].keys() == {"id", "status", "version"}
    last = result(alice, "get_task", task_id=rows[0]["id"])
    assert (last["title"], last["ready"], last["open_blockers"]) == ("last", False, 2)
    assert {blocker["id"] for blocker in last["blocked_by"]} == {row["id"] for row in rows[1:]}
    build = result(alice, "get_task", task_id=rows[1]["id"])
    assert [blocker["id"] for blocker in build["blocked_by"]] == [before]


def test_references_work_over_rest_too(alice: User) -> None:
    api = client_of(alice, "test")
    body = [{"title": "b", "blocked_by": ["a"]}, {"title": "a", "ref": "a"}]
    answer = api.post("/api/tasks/", body, format="json")
    assert answer.status_code == 201, answer.content
    assert [(task["title"], task["open_blockers"]) for task in answer.json()] == [("b", 1), ("a", 0)]


CYCLE = [{"title": "a", "ref": "a", "blocked_by": ["b"]}, {"title": "b", "ref": "b", "blocked_by": ["a"]}]


@pytest.mark.parametrize(
    ("given", "code", "place"),
    [
        ([{"title": "a", "blocked_by": ["x"]}], "invalid", "0"),
        ([{"title": "a", "ref": "x"}, {"title": "b", "ref": "x"}], "invalid", "1"),
        ([{"title": "a", "ref": "x", "blocked_by": ["x"]}], "dependency_cycle", None),
        (CYCLE, "dependency_cycle", None),
        ([{"title": "a", "blocked_by": ["0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f"]}], "invalid", "blocked_by"),
        ([{"title": "a", "ref": "0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f"}], "invalid", "tasks"),
        ([{"title": "a"}, {"title": ""}], "invalid", "tasks"),
        ([], "invalid", "tasks"),
        ([{"title": "a"}] * 101, "invalid", "tasks"),
    ],
)
def test_wrong_references_create_nothing(alice: User, given: Any, code: str, place: str | None) -> None:
    failure = error(alice, "create_tasks", tasks=given)
    assert failure["code"] == code
    assert place is None or place in failure["details"]
    assert not Task.objects.exists()


def test_a_request_id_that_is_repeated_makes_nothing_twice(alice: User) -> None:
    given = [{"title": "a", "ref": "a"}, {"title": "b", "blocked_by": ["a"]}]
    first = result(alice, "create_tasks", tasks=given, request_id="r-1")
    assert result(alice, "create_tasks", tasks=given, request_id="r-1") == first
    assert Task.objects.count() == 2
    other = error(alice, "create_tasks", tasks=given[:1], request_id="r-1")
    assert other["code"] == "idempotency_key_reused"
    # Another agent's is its own, as is one of a call that failed.
    assert result(alice, "create_tasks", tasks=given, request_id="r-1", **{"as": "other"}) != first
    wrong = [{"title": "a", "blocked_by": ["x"]}]
    assert error(alice, "create_tasks", tasks=wrong, request_id="r-2")["code"] == "invalid"
    assert result(alice, "create_tasks", tasks=given, request_id="r-2")["tasks"]
    assert error(alice, "create_tasks", tasks=given, request_id="a b")["code"] == "invalid"


def test_lists_are_filtered_by_tags_and_by_whose_they_are(alice: User) -> None:
    mine = made(alice, assignee="alice", tags=["x", "y"])
    free = made(alice, tags=["x"])
    for arguments, expected in [
        ({"tags": ["x"]}, {mine, free}),
        ({"tags": ["x", "y"]}, {mine}),
        ({"assignee": "me"}, {mine}),
        ({"assignee": "nobody"}, {free}),
        ({"ready": True}, {mine, free}),
        ({"stale": True}, set()),
    ]:
        assert {row["id"] for row in result(alice, "list_tasks", **arguments)["tasks"]} == expected, arguments
