"""`/api/tasks/board/`: columns by pages, counts, states, searches, and what needs the caller."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from taskhub.auth.actor import SYSTEM, Actor
from taskhub.models import Execution, ExecutionStatus, Task, WaitingReason
from taskhub.selectors.board import BOARD_STATES
from taskhub.services import notes, tasks
from taskhub.services.executions import execution_queue
from tests.agents.calls import acting
from tests.conftest import client_of, make_account

pytestmark = pytest.mark.django_db


def board(user: User, **query: Any) -> dict[str, Any]:
    answer = client_of(user).get("/api/tasks/board/", query)
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def titles(user: User, **query: Any) -> set[str]:
    return {row["title"] for column in board(user, **query)["columns"] for row in column["results"]}


def run(task: Task, status: ExecutionStatus, **fields: Any) -> None:
    execution = execution_queue(actor=SYSTEM, task_id=task.pk, script="true")
    ended = {} if status in {"queued", "running"} else {"finished_at": timezone.now()}
    Execution.objects.filter(pk=execution.pk).update(status=status, **ended, **fields)


def make(title: str, **fields: Any) -> Task:
    return tasks.task_create(actor=SYSTEM, title=title, **fields)


def test_a_column_comes_by_pages_the_most_urgent_and_last_changed_first(alice: User) -> None:
    for n in range(7):
        make(f"t{n}", priority=("low", "high", "medium")[n % 3])
    make("elsewhere", status="review")
    seen: list[str] = []
    column = next(each for each in board(alice, page_size=3)["columns"] if each["status"] == "todo")
    while True:
        assert (column["count"], column["total"]) == (7, 7)
        seen += [row["title"] for row in column["results"]]
        if column["cursor"] is None:
            break
        answer = board(alice, page_size=3, status="todo", cursor=column["cursor"])
        assert answer["summary"] is None
        [column] = answer["columns"]
    assert seen == ["t4", "t1", "t5", "t2", "t6", "t3", "t0"]


def test_a_card_has_its_facts_and_no_description(alice: User) -> None:
    make("t", description="long")
    row = next(row for column in board(alice)["columns"] for row in column["results"])
    assert "description" not in row
    assert row["status_since"] is not None


def test_counts_are_of_all_tasks_and_states_are_as_the_filters_have_them(alice: User) -> None:
    expected = {name: {name} for name in ("ready", "waiting", "running", "failed", "question", "held", "stale")}
    made = {name: make(name) for name in expected}
    run(made["waiting"], ExecutionStatus.QUEUED, waiting_reason=WaitingReason.CAPACITY)
    run(made["running"], ExecutionStatus.RUNNING)
    run(made["failed"], ExecutionStatus.COMPLETED)
    run(made["failed"], ExecutionStatus.FAILED)
    notes.note_add(actor=SYSTEM, task_id=made["question"].pk, kind="question", text="Which?")
    Task.objects.filter(title="held").update(held_back=True)
    Task.objects.filter(title="stale").update(status="inprogress", updated_at="2020-01-01T00:00:00Z")
    Task.objects.filter(title__in=["waiting", "running", "failed", "question"]).update(status="review")
    make("blocked", blocked_by=[made["ready"].pk])
    expected["blocked"] = {"blocked"}
    assert set(expected) == set(BOARD_STATES)
    for name, found in expected.items():
        assert titles(alice, state=name) == found, name
    assert titles(alice, state=["ready", "failed"]) == {"ready", "failed"}
    shown = board(alice, state="ready")
    assert shown["summary"]["states"] == dict.fromkeys(BOARD_STATES, 1)
    counts = {column["status"]: (column["count"], column["total"]) for column in shown["columns"]}
    assert counts == {"todo": (1, 3), "inprogress": (0, 1), "review": (0, 4), "done": (0, 0)}


def test_a_search_finds_words_in_texts_tags_assignee_and_id(alice: User) -> None:
    found = make("Über die Brücke", description="Hinüber", assignee="carol", tags=["größe", "blue"])
    make("another")
    for text in ("uber BRUCKE", "hinuber", "carol blue", "größe", str(found.pk)[:13], "lu"):
        assert titles(alice, q=text) == {"Über die Brücke"}, text
    assert titles(alice, q="uber absent") == set()


def test_what_needs_the_caller_comes_whatever_the_filters(alice: User) -> None:
    mine = make("asked", assignee="alice")
    notes.note_add(actor=SYSTEM, task_id=mine.pk, kind="question", text="Which?")
    run(make("failed", assignee="alice"), ExecutionStatus.FAILED)
    run(make("failed and done", assignee="alice"), ExecutionStatus.FAILED)
    Task.objects.filter(title="failed and done").update(status="done")
    make("of another", assignee="bob", status="review")
    make("only mine", assignee="alice")
    shown = board(alice, q="nothing has this", page_size=0)
    assert [row["title"] for row in shown["summary"]["needs"]] == ["asked", "failed"]
    assert all(column["results"] == [] and column["cursor"] is None for column in shown["columns"])
    assert board(make_account("carol", "viewer"))["summary"]["needs"] == []


def test_a_question_of_ones_own_waits_for_others(alice: User) -> None:
    task = make("asked", assignee="alice")
    run(make("asked and failed", assignee="alice"), ExecutionStatus.FAILED)
    for each in Task.objects.all():
        notes.note_add(actor=Actor(door="rest", user=alice), task_id=each.pk, kind="question", text="Which?")
    Task.objects.update(created_by="bob")
    shown = board(alice)["summary"]
    assert [row["title"] for row in shown["needs"]] == ["asked and failed"]
    assert shown["needs"][0]["question_by"] == "alice"
    bob = make_account("bob", "agent")
    assert {row["title"] for row in board(bob)["summary"]["needs"]} == {"asked", "asked and failed"}
    # The same account's agent asks: that is for the person.
    notes.note_add(actor=Actor(door="rest", user=bob), task_id=task.pk, kind="answer", text="This.")
    notes.note_add(actor=acting(alice, "one"), task_id=task.pk, kind="question", text="Sure?")
    needs = {row["title"]: row["question_by"] for row in board(alice)["summary"]["needs"]}
    assert needs["asked"] == "alice/one"


def test_accounts_are_told_to_those_that_have_one(alice: User, anonymous: APIClient) -> None:
    make_account("carol", "agent")
    User.objects.filter(pk=make_account("gone", "agent").pk).update(is_active=False)
    told = board(alice)["summary"]["accounts"]
    assert {"alice", "carol"} <= set(told)
    assert "gone" not in told
    assert anonymous.get("/api/tasks/board/").json()["summary"]["accounts"] == []


def test_the_page_is_told_what_a_run_would_run(alice: User) -> None:
    task = make("t", description="Text.\n\n```python\nno\n```\n\n```bash\necho yes\n```\n")
    address = f"/api/tasks/{task.pk}/"
    assert client_of(alice).get(address, {"html": "true"}).json()["script"] == "echo yes\n"
    assert "script" not in client_of(alice).get(address).json()
    tasks.task_update(actor=SYSTEM, task_id=task.pk, description="None.")
    assert client_of(alice).get(address, {"html": "true"}).json()["script"] is None


def test_what_others_may_not_see_is_neither_shown_nor_counted(alice: User, anonymous: APIClient) -> None:
    secret = make("secret", private=True, assignee="bob", tags=["hidden"])
    run(secret, ExecutionStatus.FAILED)
    for client in (client_of(alice), anonymous):
        shown = client.get("/api/tasks/board/").json()
        assert all(column["total"] == 0 for column in shown["columns"])
        assert (shown["summary"]["assignees"], shown["summary"]["tags"], shown["summary"]["needs"]) == ([], [], [])
        assert set(shown["summary"]["states"].values()) == {0}
    tasks.task_update(actor=SYSTEM, task_id=secret.pk, private=False)
    assert titles(alice, state="failed") == set(), "its run was private"
    assert titles(make_account("bob", "agent"), state="failed") == {"secret"}


def test_tasks_done_long_ago_have_left_the_board(alice: User, settings: Any) -> None:
    Task.objects.filter(pk=make("old", status="done").pk).update(updated_at="2020-01-01T00:00:00Z")
    make("new", status="done")
    assert titles(alice) == {"new"}
    assert titles(alice, old="true") == {"new", "old"}
    settings.TASKHUB_BOARD_DONE_DAYS = 0
    assert titles(alice) == {"new", "old"}


@pytest.mark.parametrize(
    "query",
    [
        "cursor=x",
        "status=todo&cursor=x",
        "state=odd",
        "page_size=201",
        "ordering=title",
    ],
)
def test_wrong_parameters_are_refused(alice: User, query: str) -> None:
    assert client_of(alice).get(f"/api/tasks/board/?{query}").status_code in {400, 404}


def test_more_tasks_take_no_query_more(alice: User) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            board(alice)
        return len(asked)

    run(make("one"), ExecutionStatus.FAILED)
    few = queries()
    for n in range(4):
        run(make(f"more {n}", status="review"), ExecutionStatus.FAILED)
    assert queries() == few
