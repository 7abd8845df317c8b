"""Executions whose environment has a setup or a repository, on the local sandbox server."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.utils import timezone
from rest_framework.test import APIClient

from taskhub import jobs
from taskhub.auth.actor import SYSTEM
from taskhub.models import Artifact, AuditEntry, EnvironmentCredential, Execution, ExecutionStatus, Task
from taskhub.services.environments import environment_create
from taskhub.services.execution_leases import execution_take_lease
from taskhub.services.executions import execution_request_stop
from taskhub.web.thread_pool import wait_here
from taskhub.worker.following import Following
from tests.agents.calls import result
from tests.git_servers import GitServer, git, make_repository
from tests.settling import settle

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sandboxes"), pytest.mark.sqlite_suffices]


@pytest.fixture
def task() -> Task:
    return Task.objects.create(title="t")


def begin(user: User, task: Task, script: str = "echo script") -> Execution:
    """Its start has been asked for, and its setup may be under way."""
    arguments = {"task_id": str(task.pk), "script_content": script, "environment": "backend"}
    execution_id = str(result(user, "execute_task", **arguments)["execution_id"])
    jobs.execution_start(execution_id)
    return Execution.objects.get(pk=execution_id)


def log_of(user: User, execution: Execution) -> list[str]:
    return str(result(user, "get_execution", task_id=str(execution.task_id))["log"]).splitlines()


def free() -> None:
    """As the reconciliation does when a worker has died."""
    Execution.objects.update(lease_until=None)


def follow() -> None:
    """To its end, as a worker does."""
    free()
    execution_id = Execution.objects.get().pk
    execution = execution_take_lease(execution_id=execution_id, status=ExecutionStatus.RUNNING, lease_s=60)
    assert execution is not None
    wait_here(Following(execution, is_first=True).run)


def test_status_is_starting_until_the_script_begins(alice: User, api: APIClient, task: Task) -> None:
    environment_create(actor=SYSTEM, name="backend", setup="echo prepared; sleep 1", env={"A": "1"})
    execution = begin(alice, task, "echo $A; exit 7")
    assert (execution.status, execution.started_at, bool(execution.command_id)) == ("starting", None, True)
    free()
    jobs.executions_reconcile()  # its worker has died: another one follows it
    jobs.execution_start(str(execution.pk))
    assert Execution.objects.get().attempts == 1
    ended = settle(str(execution.pk))
    assert (ended.status, ended.exit_code, ended.attempts, ended.error_code) == ("failed", 7, 1, "")
    assert ended.started_at is not None
    assert log_of(alice, ended) == ["[TaskHub: setup]", "prepared", "[TaskHub: script]", "1"]
    steps = [entry.action for entry in AuditEntry.objects.filter(execution_id=execution.pk).order_by("id")]
    assert steps == ["execution:queue", "execution:start", "execution:finish"]


def test_failed_setup(alice: User, api: APIClient, task: Task) -> None:
    environment_create(actor=SYSTEM, name="backend", setup="echo tried; exit 3")
    ended = settle(str(begin(alice, task).pk))
    shown = api.get(f"/api/executions/{ended.pk}/").json()
    assert (shown["status"], shown["exit_code"], shown["started_at"]) == ("failed", None, None)
    assert shown["error"] == {
        "code": "setup_failed",
        "message": "The environment's setup ended with exit code 3; the log has its output.",
    }
    assert log_of(alice, ended) == ["[TaskHub: setup]", "tried"]


def test_stop_works_while_the_setup_runs(alice: User, task: Task) -> None:
    environment_create(actor=SYSTEM, name="backend", setup="trap '' TERM; sleep 600")
    execution = begin(alice, task)
    execution_request_stop(actor=SYSTEM, task_id=task.pk)
    free()
    ended = settle(str(execution.pk))
    assert (ended.status, ended.exit_code, ended.started_at) == ("stopped", None, None)
    assert Task.objects.get().ending == ""


def test_time_of_the_setup_is_not_the_scripts(alice: User, task: Task) -> None:
    environment_create(actor=SYSTEM, name="backend", setup="sleep 600", setup_timeout_s=77, timeout_s=5)
    execution = begin(alice, task)
    assert execution.setup_deadline is not None
    assert timedelta(seconds=70) < execution.setup_deadline - timezone.now() < timedelta(seconds=77)
    Execution.objects.update(setup_deadline=timezone.now() - timedelta(seconds=1), lease_until=None)
    ended = settle(str(execution.pk))
    assert (ended.status, ended.error_code, ended.exit_code) == ("failed", "setup_failed", None)
    assert ended.error_message == "The environment's setup had not ended after 77 s."


def test_repository_with_a_credential(alice: User, api: APIClient, task: Task, tmp_path: Path) -> None:
    token = "t@k/e:n of these tests"
    app = make_repository(tmp_path / "app", a="1\n")
    with GitServer(tmp_path, ("us:er", token)).serving() as server:
        credential = {"username": "us:er", "token": token, "hosts": [server.host]}
        repository = {"url": f"{server.url}/app", "ref": "main", "credential": credential}
        environment_create(actor=SYSTEM, name="backend", repository=repository)
        ended = settle(str(begin(alice, task, "echo 2 >>a; echo new >untracked").pk))
    commit = git(app, "rev-parse", "HEAD")
    assert (ended.status, ended.commit) == ("completed", commit), ended.error_message
    assert api.get(f"/api/executions/{ended.pk}/").json()["commit"] == commit
    shown = result(alice, "get_execution", task_id=str(task.pk))
    assert shown["commit"] == commit
    assert sorted(Artifact.objects.values_list("path", flat=True)) == ["a", "changes.patch", "untracked"]
    patch = result(alice, "read_file", task_id=str(task.pk), path="changes.patch")["text"]
    assert patch.endswith(" 1\n+2\n")
    dump = tmp_path / "rows.json"
    call_command("dumpdata", output=str(dump), verbosity=0)
    assert EnvironmentCredential.objects.get().opened() == ("us:er", token, (server.host,))
    assert not any(secret in dump.read_text() for secret in (token, "us:er"))


def test_failed_checkout_is_told_in_a_sentence(alice: User, api: APIClient, task: Task, tmp_path: Path) -> None:
    make_repository(tmp_path / "app", a="1\n")
    with GitServer(tmp_path, ("user", "token")).serving() as server:
        environment_create(actor=SYSTEM, name="backend", repository={"url": f"{server.url}/app"})
        ended = settle(str(begin(alice, task).pk))
        assert (ended.status, ended.error_code, ended.exit_code) == ("failed", "checkout_failed", None)
        assert ended.error_message == (
            "The repository's server asks for a credential, and the environment has none for it. "
            "The log has what git said."
        )
        assert server.url not in json.dumps(api.get(f"/api/executions/{ended.pk}/").json()) + "\n".join(
            log_of(alice, ended)
        )


def test_network_that_cannot_be_closed_fails_the_run(alice: User, task: Task, tmp_path: Path, namespaces: None) -> None:
    make_repository(tmp_path / "app", a="1\n")
    with GitServer(tmp_path).serving() as server:
        repository = {"url": f"{server.url}/app", "before_lock": True}
        environment_create(actor=SYSTEM, name="backend", repository=repository, network="none", setup="echo prepared")
        begin(alice, task, "echo never")
        follow()
    ended = Execution.objects.get()
    assert (ended.status, ended.error_code, ended.exit_code, ended.started_at) == (
        "failed",
        "network_not_closed",
        None,
        None,
    )
    assert ended.error_message == (
        "The network was not closed between setup and script, so the execution was ended. The local sandbox server "
        "has no network to close later; use another environment, or connect a Daytona account."
    )
    assert log_of(alice, ended)[-1] == "prepared"
