"""How an execution waits and is being ended: the same over REST and MCP, also of its task."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from taskhub.auth.actor import SYSTEM, Actor
from taskhub.models import Execution, ExecutionStatus
from taskhub.services import admission, executions, tasks
from taskhub.services.admission_rules import admission_rule_set
from tests.agents.calls import error, result
from tests.unit.test_admission import start

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]


@pytest.fixture
def queued(alice: User) -> Execution:
    actor = Actor(door="rest", user=alice)
    task = tasks.task_create(actor=actor, title="t")
    return executions.execution_queue(actor=actor, task_id=task.pk, script="true")


def over_rest(api: APIClient, execution: Execution) -> list[dict[str, Any]]:
    """All answers that show the execution, and then its task."""
    task_id = execution.task_id
    listed = [
        next(row for row in api.get(address).json()["results"] if row["execution_id"] == str(execution.pk))
        for address in ("/api/executions/", f"/api/tasks/{task_id}/executions/")
    ]
    single = [api.get(f"/api/exec/status/{task_id}").json(), api.get(f"/api/executions/{execution.pk}/").json()]
    return [*listed, *single]


def over_mcp(user: User, execution: Execution) -> dict[str, Any]:
    return result(user, "get_execution", task_id=str(execution.task_id), tail=0)


def test_a_waiting_execution_says_why_and_where(api: APIClient, alice: User, queued: Execution) -> None:
    assert {str(shown["waiting"]) for shown in over_rest(api, queued)} == {"None"}
    admission_rule_set(actor=SYSTEM, paused=True)
    admission.executions_admit()
    for shown in [*over_rest(api, queued), over_mcp(alice, queued)]:
        assert (shown["status"], shown.get("ending")) == ("queued", None)
        assert shown["waiting"].items() >= {"reason": "paused", "position": 1}.items()


@pytest.mark.parametrize("ending", ["stopped", "timed_out"])
def test_an_execution_says_as_what_it_is_being_ended(
    api: APIClient, alice: User, queued: Execution, ending: str
) -> None:
    admission.executions_admit()
    running = start(queued.pk)
    task = f"/api/tasks/{queued.task_id}/"
    assert {shown["ending"] for shown in over_rest(api, queued)} == {None}
    assert "ending" not in over_mcp(alice, queued)
    assert api.get(task).json()["ending"] is None
    if ending == "stopped":
        told = result(alice, "stop_execution", task_id=str(queued.task_id))
        assert told["ending"] == ending
    else:
        assert executions.execution_mark_ending(execution=running, ending=ExecutionStatus.TIMED_OUT)
    for shown in [*over_rest(api, queued), over_mcp(alice, queued)]:
        assert (shown["status"], shown["ending"]) == ("running", ending)
    assert api.get(task).json()["ending"] == ending
    assert result(alice, "get_task", task_id=str(queued.task_id))["ending"] == ending
    for row in (api.get("/api/tasks/").json()["results"], result(alice, "list_tasks")["tasks"]):
        assert [each["ending"] for each in row] == [ending]
    refused = error(alice, "execute_task", task_id=str(queued.task_id), script_content="true")
    assert refused["code"] == "execution_ending"
    assert 1 <= refused["details"]["retry_after_s"] <= 20
    again = api.post(f"/api/exec/{queued.task_id}", {"script_content": "true"}, format="json")
    for answer in (api.delete(task), again):
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "execution_ending")
        assert 1 <= int(answer["Retry-After"]) <= 20
