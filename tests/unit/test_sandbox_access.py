"""Sandbox access: in which sandboxes an agent may execute a task, and which sandboxes are hidden."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import AnonymousUser, User
from rest_framework.test import APIClient

from taskhub.auth.actor import SYSTEM, Actor
from taskhub.auth.sandbox_access import hidden_sandboxes, tasks_executed_in
from taskhub.errors import Forbidden, NotFound
from taskhub.models import Execution, ExecutionStatus
from taskhub.services.executions import Outcome, execution_finish, execution_queue
from taskhub.services.tasks import task_create, task_delete
from tests.conftest import client_of, make_account

pytestmark = pytest.mark.django_db


@pytest.fixture
def bob(db: None) -> User:
    """An agent, like alice."""
    return make_account("bob", "agent")


def executed(sandbox_id: str = "box", *, requested: str = "", **fields: Any) -> Execution:
    """An execution of a task of its own that has ended in this sandbox."""
    task = task_create(actor=SYSTEM, title="t", **fields)
    execution = execution_queue(actor=SYSTEM, task_id=task.pk, script="true", sandbox_id=requested)
    if not requested:
        Execution.objects.filter(pk=execution.pk).update(sandbox_id=sandbox_id)
    execution_finish(execution=execution, outcome=Outcome(ExecutionStatus.COMPLETED))
    return Execution.objects.get(pk=execution.pk)


def queue(user: User | None, sandbox_id: str, task_id: UUID | None = None) -> Execution:
    task_id = task_id or task_create(actor=SYSTEM, title="another").pk
    return execution_queue(
        actor=Actor(door="rest", user=user), task_id=task_id, script="cat ../*/*", sandbox_id=sandbox_id
    )


def test_only_callers_who_see_a_private_task_may_execute_in_its_sandbox(alice: User, bob: User, operator: User) -> None:
    execution = executed(private=True, assignee="alice")
    for name in ("box", execution.session_name):
        with pytest.raises(NotFound) as refusal:
            queue(bob, name)
        assert refusal.value.code == "sandbox_not_found"
    assert execution.task_id is not None
    assert queue(alice, "box", execution.task_id).requested_sandbox_id == "box"
    assert queue(operator, "box")
    assert queue(None, "box"), "the service itself"


def test_a_sandbox_created_for_a_task_is_refused_for_others(bob: User) -> None:
    execution = executed()
    for name in ("box", execution.session_name):
        with pytest.raises(Forbidden):
            queue(bob, name)
    assert queue(bob, "box", execution.task_id)


def test_an_existing_sandbox_may_be_used_for_all_tasks(bob: User) -> None:
    executed(requested="shared")
    assert queue(bob, "shared")
    assert queue(bob, "never-seen")


def test_a_refused_sandbox_queues_no_execution(bob: User, alice: User) -> None:
    executed(private=True, assignee="alice")
    task = task_create(actor=SYSTEM, title="bob's")
    client: APIClient = client_of(bob)
    body = {"script_content": "true", "sandbox_id": "box"}
    answer = client.post(f"/api/exec/{task.pk}", body, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "sandbox_not_found")
    assert not task.executions.exists()


def test_a_private_tasks_sandbox_is_hidden_before_its_id_is_known_and_after_the_task_is_gone(
    alice: User, bob: User, operator: User
) -> None:
    task = task_create(actor=SYSTEM, title="secret", private=True, assignee="alice")
    execution = execution_queue(actor=SYSTEM, task_id=task.pk, script="true")
    names = ["box", execution.session_name, "other"]
    for stranger in (bob, AnonymousUser()):
        assert execution.session_name in hidden_sandboxes(user=stranger, names=names)
    assert hidden_sandboxes(user=alice, names=names) == set()
    assert tasks_executed_in([execution.session_name]) == [str(task.pk)]
    Execution.objects.filter(pk=execution.pk).update(sandbox_id="box")
    execution_finish(execution=execution, outcome=Outcome(ExecutionStatus.COMPLETED))
    task_delete(actor=SYSTEM, task_id=task.pk)
    for stranger in (bob, alice, AnonymousUser()):
        assert "box" in hidden_sandboxes(user=stranger, names=["box"])
    assert hidden_sandboxes(user=operator, names=names) == set()


def test_a_public_tasks_sandbox_is_not_hidden_when_it_is_gone(bob: User) -> None:
    execution = executed()
    assert execution.task_id is not None
    task_delete(actor=SYSTEM, task_id=execution.task_id)
    assert hidden_sandboxes(user=bob, names=["box", execution.session_name]) == set()
