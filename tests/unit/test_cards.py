"""What `/api/tasks/cards/` adds to a task for its card on the board."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from taskhub.auth.actor import SYSTEM
from taskhub.models import AuditEntry, Claim, Execution, ExecutionStatus, Task
from taskhub.services import notes, tasks
from taskhub.services.claims import task_claim
from taskhub.services.executions import execution_queue
from tests.agents.calls import acting
from tests.conftest import client_of, make_account

pytestmark = [pytest.mark.django_db]


def cards(user: User, **query: Any) -> dict[str, dict[str, Any]]:
    """By title."""
    answer = client_of(user).get("/api/tasks/cards/", query)
    assert answer.status_code == 200, answer.content
    return {row["title"]: row for row in answer.json()["results"]}


def ended(task: Task, status: ExecutionStatus, exit_code: int | None) -> Execution:
    execution = execution_queue(actor=SYSTEM, task_id=task.pk, script="true")
    Execution.objects.filter(pk=execution.pk).update(status=status, exit_code=exit_code, finished_at=timezone.now())
    return execution


def test_the_age_in_a_column_is_that_of_the_status_alone(alice: User) -> None:
    task = tasks.task_create(actor=SYSTEM, title="t")
    assert cards(alice)["t"]["status_since"] == told(AuditEntry.objects.get(task_id=task.pk).at)
    tasks.task_update(actor=SYSTEM, task_id=task.pk, status="inprogress")
    moved = AuditEntry.objects.filter(task_id=task.pk).latest("id").at
    tasks.task_update(actor=SYSTEM, task_id=task.pk, title="u")
    notes.note_add(actor=SYSTEM, task_id=task.pk, kind="note", text="n")
    assert cards(alice)["u"]["status_since"] == told(moved)


def told(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def test_a_card_says_since_when_its_holder_holds_it(alice: User) -> None:
    task = tasks.task_create(actor=SYSTEM, title="t")
    assert cards(alice)["t"]["held_since"] is None
    assert task_claim(actor=acting(alice, "worker"), task_id=task.pk, lease_s=900)
    assert cards(alice)["t"]["held_since"] == told(Claim.objects.get(task=task).begun_at)
    Claim.objects.filter(task=task).update(ended_at=timezone.now())
    assert cards(alice)["t"]["held_since"] is None


def test_the_last_run_is_the_newest_one_that_has_ended(alice: User) -> None:
    task = tasks.task_create(actor=SYSTEM, title="t")
    assert cards(alice)["t"]["last_run"] is None
    ended(task, ExecutionStatus.COMPLETED, 0)
    newest = ended(task, ExecutionStatus.FAILED, 3)
    execution_queue(actor=SYSTEM, task_id=task.pk, script="true")
    shown = cards(alice)["t"]["last_run"]
    assert (shown["execution_id"], shown["status"], shown["exit_code"]) == (str(newest.pk), "failed", 3)


def test_a_run_from_a_time_when_its_task_was_private_is_not_shown(alice: User) -> None:
    task = tasks.task_create(actor=SYSTEM, title="t", private=True, assignee="bob")
    ended(task, ExecutionStatus.FAILED, 3)
    assert cards(alice) == {}
    tasks.task_update(actor=SYSTEM, task_id=task.pk, private=False)
    assert cards(alice)["t"]["last_run"] is None
    assert cards(make_account("bob", "agent"))["t"]["last_run"]["exit_code"] == 3


def test_cards_are_filtered_as_tasks_are_and_take_no_query_more_for_more_tasks(alice: User) -> None:
    old = tasks.task_create(actor=SYSTEM, title="old", status="inprogress")
    Task.objects.filter(pk=old.pk).update(updated_at="2020-01-01T00:00:00Z")
    ended(tasks.task_create(actor=SYSTEM, title="new"), ExecutionStatus.COMPLETED, 0)
    assert list(cards(alice, stale="true")) == ["old"]
    assert {title: row["stale"] for title, row in cards(alice).items()} == {"old": True, "new": False}
    with CaptureQueriesContext(
        connection,
    ) as few:
        cards(alice)
    for n in range(3):
        ended(tasks.task_create(actor=SYSTEM, title=f"more {n}"), ExecutionStatus.FAILED, 1)
    with CaptureQueriesContext(connection) as many:
        cards(alice)
    assert len(many) == len(few)
    assert client_of(alice).get("/api/tasks/cards/?ordering=title").status_code == 400
