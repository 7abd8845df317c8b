"""Executions in an environment, on the local sandbox server: what it holds, and what it refuses."""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from taskhub import jobs
from taskhub.auth.actor import SYSTEM
from taskhub.executions import environment_look
from taskhub.models import Execution, Task
from taskhub.services.environments import environment_create, environment_delete, environment_update
from tests.agents.calls import result
from tests.conftest import client_of
from tests.settling import settle

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sandboxes"), pytest.mark.sqlite_suffices]


@pytest.fixture
def task() -> Task:
    return Task.objects.create(title="t")


def queue(user: User, task: Task, script: str, **arguments: Any) -> str:
    return str(result(user, "execute_task", task_id=str(task.pk), script_content=script, **arguments)["execution_id"])


def run(user: User, task: Task, script: str, **arguments: Any) -> Execution:
    execution_id = queue(user, task, script, **arguments)
    jobs.execution_start(execution_id)
    return settle(execution_id)


def log_of(user: User, execution: Execution) -> list[str]:
    log = result(user, "get_execution", task_id=str(execution.task_id))["log"]
    return str(log).splitlines()


def test_a_queued_execution_keeps_the_version_that_is_changed_and_deleted_meanwhile(alice: User, task: Task) -> None:
    environment_create(actor=SYSTEM, name="backend", env={"A": "first", "B": "of the environment"})
    execution_id = queue(alice, task, 'echo "$A $B"', environment="backend", env=[{"name": "B", "value": "own"}])
    environment_update(actor=SYSTEM, name="backend", env={"A": "second"}, allowed=[])
    environment_delete(actor=SYSTEM, name="backend")
    jobs.execution_start(execution_id)
    execution = settle(execution_id)
    assert execution.status == "completed"
    assert log_of(alice, execution) == ["first own"]
    shown = result(alice, "get_execution", task_id=str(task.pk))
    assert shown["environment"] == {"name": "backend", "version": 1}


def test_no_network_is_no_network(namespaces: None, alice: User, task: Task) -> None:
    environment_create(actor=SYSTEM, name="closed", network="none")
    script = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '"
    assert log_of(alice, run(alice, task, script, environment="closed")) == ["lo"]
    # With the machine's network there is more than that, or the machine has none itself.
    another = Task.objects.create(title="another")
    inode = "readlink /proc/self/ns/net"
    closed, usual = run(alice, task, inode, environment="closed"), run(alice, another, inode)
    assert log_of(alice, closed) != log_of(alice, usual)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"image": "python:3.12-slim"}, "sandbox_not_held"),
        ({"network": {"domains": ["pypi.org"]}}, "sandbox_not_held"),
        ({"snapshot": "of-no-such-name"}, "snapshot_not_found"),
    ],
)
def test_what_cannot_be_at_the_start_fails_at_once_with_a_sentence(
    alice: User, task: Task, fields: dict[str, Any], code: str
) -> None:
    environment_create(actor=SYSTEM, name="backend", **fields)
    execution_id = queue(alice, task, "true", environment="backend")
    jobs.execution_start(execution_id)
    execution = Execution.objects.get(pk=execution_id)
    assert (execution.status, execution.error_code, execution.attempts) == ("failed", code, 1)
    assert execution.error_message.endswith(".")
    assert execution.exit_code is None


def test_a_sandbox_is_kept_for_as_long_as_its_environment_says(
    api: APIClient, alice: User, task: Task, settings: Any
) -> None:
    settings.TASKHUB_SANDBOX_KEEP_S = 600
    environment_create(actor=SYSTEM, name="short", keep_sandbox_s=0)
    environment_create(actor=SYSTEM, name="long", keep_sandbox_s=7200)
    short, long = run(alice, task, "true", environment="short"), run(alice, task, "true", environment="long")
    Execution.objects.update(finished_at=timezone.now() - timedelta(seconds=700))
    jobs.executions_release()
    released = dict(Execution.objects.values_list("pk", "released_at"))
    assert released[short.pk] is not None
    assert released[long.pk] is None


def test_an_environment_is_saved_while_the_sandbox_service_is_silent(
    operator: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the connection and says nothing. Not waiting for it is what makes the sentence this one."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.DAYTONA_API_URL = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        monkeypatch.setattr(environment_look, "LOOK_S", 0.5)
        body = {"name": "backend", "snapshot": "of-the-team", "secrets": {"TOKEN": "npm"}}
        made = client_of(operator).post("/api/environments/", body, format="json")
    assert (made.status_code, made.json()["unchecked"]) == (
        201,
        "snapshot: The sandbox service did not answer in time. secrets: The sandbox service did not answer in time.",
    )
