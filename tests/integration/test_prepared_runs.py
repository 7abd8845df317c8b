"""Environments with a prepare on the local sandbox server: the snapshot, and executions before and after it."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from sandboxes.gateway import open_gateway
from taskhub import jobs
from taskhub.auth.actor import SYSTEM
from taskhub.executions import get_executor
from taskhub.executions.preparer import Preparing
from taskhub.lib.leases import watch
from taskhub.models import EnvironmentVersion, Execution, PreparedSnapshot, Task
from taskhub.services.environments import environment_create, environment_delete, environment_update
from taskhub.services.prepared_snapshots import snapshot_claim, snapshot_for
from taskhub.web.thread_pool import wait_here
from taskhub.worker import snapshot_preparation
from tests.agents.calls import result
from tests.conftest import client_of
from tests.processes import wait_until
from tests.settling import settle

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sandboxes"), pytest.mark.sqlite_suffices]
PREPARE = 'pwd >where; echo "${A-} ${B-} ${TASKHUB_EXECUTION:+a run}" >variables; date +%s%N >when; echo done'
LOOK = "cd; cat variables when; ls -A .taskhub"


@pytest.fixture
def task() -> Task:
    return Task.objects.create(title="t")


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """The server outlives the database: snapshots of other tests are there."""
    return f"e{time.time_ns()}"


def make(name: str, prepare: str = PREPARE, **fields: Any) -> EnvironmentVersion:
    return environment_create(actor=SYSTEM, name=name, prepare=prepare, env={"A": "of env"}, **fields)


def tick() -> None:
    PreparedSnapshot.objects.update(due_at=None)
    jobs.snapshots_prepare()


def is_in(state: str) -> bool:
    tick()
    return PreparedSnapshot.objects.filter(state=state, holds_sandbox=False).exists()


def prepared() -> PreparedSnapshot:
    wait_until(partial(is_in, "active"), "the snapshot is active", 120)
    return PreparedSnapshot.objects.get()


def run(user: User, task: Task, name: str, script: str = LOOK, **arguments: Any) -> tuple[Execution, list[str]]:
    given = {"task_id": str(task.pk), "script_content": script, "environment": name, **arguments}
    execution_id = str(result(user, "execute_task", **given)["execution_id"])
    jobs.execution_start(execution_id)
    execution = settle(execution_id)
    return execution, str(result(user, "get_execution", task_id=str(task.pk))["log"]).splitlines()


def sandbox_names() -> list[str]:
    async def names() -> list[str]:
        async with open_gateway() as gateway:
            return [str(item["name"]) for item in (await gateway.page(None)).items]

    return async_to_sync(names)()


def test_executions_prepare_themselves_until_the_snapshot_is_there(
    alice: User, operator: User, task: Task, name: str
) -> None:
    version = make(name)
    given = [{"name": "B", "value": "of the request"}]
    execution, log = run(alice, task, name, env=given)
    assert execution.status == "completed"
    assert log[:4] == ["[TaskHub: prepare]", "done", "[TaskHub: script]", "of env  a run"]
    row = prepared()
    assert snapshot_for(version) == f"taskhub-{name}-1"
    wait_until(lambda: row.sandbox_name not in sandbox_names(), "its sandbox is gone")
    # Now it is not run again, and nothing is left of the sandbox in which it was run but what it made, and its mark.
    logs = [run(alice, task, name, env=given)[1] for _ in range(2)]
    assert logs[0][:3] == logs[1][:3] != log[2:5]
    assert logs[0][:2] == ["[TaskHub: script]", "of env  "]
    left = logs[0][3:]
    assert [each for each in left if not each.startswith("taskhub-")] == ["prepared"]
    assert f"taskhub-prepare-{row.pk}" not in left
    found = client_of(operator).get(f"/api/environments/{name}").json()["prepared"]
    assert (found["snapshot"], found["state"], found["error"]) == (row.name, "active", None)


def test_in_a_sandbox_that_is_used_again_it_does_not_run_again(alice: User, task: Task, name: str) -> None:
    make(name)
    _, first = run(alice, task, name)
    _, again = run(alice, task, name, same_sandbox=True)
    assert first[0] == "[TaskHub: prepare]"
    assert again[0] == "[TaskHub: script]"
    assert again[1:3] == first[3:5]


def test_a_prepare_that_fails_is_told_here_and_there(alice: User, task: Task, name: str) -> None:
    make(name, "echo no such package; exit 3")
    execution, log = run(alice, task, name)
    assert (execution.status, execution.error_code, execution.exit_code) == ("failed", "prepare_failed", None)
    assert execution.error_message == "The environment's prepare ended with exit code 3; the log has its output."
    assert log == ["[TaskHub: prepare]", "no such package"]
    wait_until(partial(is_in, "failed"), "it has failed", 120)
    row = PreparedSnapshot.objects.get()
    assert (row.error_code, row.error_message) == ("prepare_failed", "Prepare ended with exit code 3.")
    assert row.log_tail == "[TaskHub: prepare]\nno such package\n"
    wait_until(lambda: row.sandbox_name not in sandbox_names(), "its sandbox is gone")


def test_a_worker_that_is_killed_after_any_request_loses_nothing(
    alice: User, task: Task, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step is taken twice: by a worker that dies before it has written down what it saw, and by another one."""
    make(name, 'echo x >>count; [ "$(wc -l <count)" = 1 ]', setup_timeout_s=86_400)
    monkeypatch.setattr(snapshot_preparation, "SERVICE_TAKES", timedelta(days=9))
    clock = [watch.clock()]
    monkeypatch.setattr(watch, "clock", lambda: clock[0])
    killed = 0
    while not PreparedSnapshot.objects.filter(state="active", holds_sandbox=False).exists():
        PreparedSnapshot.objects.update(due_at=None)
        row = snapshot_claim()
        if row is not None and row.state in {"preparing", "snapshotting"}:
            preparing = Preparing(row.sandbox_name, row.name, row.version.spec)
            executor = get_executor()
            look = executor.prepare if row.state == "preparing" else executor.keep_snapshot
            wait_here(partial(look, preparing))
            killed += 1
        # Its lease is over.
        assert snapshot_claim() is None
        clock[0] += 121
        tick()
        assert PreparedSnapshot.objects.exclude(state="failed").exists()
    assert killed >= 2
    _, log = run(alice, task, name, "wc -l <~/count")
    assert log == ["[TaskHub: script]", "1"]


def test_no_script_runs_in_the_sandbox_of_prepare(
    alice: User, operator: User, api: APIClient, task: Task, name: str
) -> None:
    """It could leave in the snapshot what it likes, for the scripts of all others."""
    make(name, "sleep 600")
    tick()
    sandbox_name = PreparedSnapshot.objects.get().sandbox_name

    async def found() -> str:
        async with open_gateway() as gateway:
            return (await gateway.sandbox_get(sandbox_name)).id

    sandbox_id = async_to_sync(found)()
    body = {"script_content": "touch ~/left", "sandbox_id": sandbox_id}
    for client in (api, client_of(operator)):
        answer = client.post(f"/api/exec/{task.pk}", body, format="json")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "sandbox_not_found")
    for address in (f"/api/sandboxes/{sandbox_id}/", f"/api/sandboxes/{sandbox_name}/"):
        assert api.get(address).status_code == 404
        assert client_of(operator).get(address).status_code == 200
    assert sandbox_name not in api.get("/api/sandboxes/").content.decode()
    environment_delete(actor=SYSTEM, name=name)
    tick()
    assert not PreparedSnapshot.objects.exists()
    wait_until(lambda: sandbox_name not in sandbox_names(), "its sandbox is gone")


def test_a_snapshot_that_is_gone_is_done_without_and_made_again(alice: User, task: Task, name: str) -> None:
    make(name)
    row = prepared()
    preparing = Preparing(row.sandbox_name, row.name, row.version.spec)
    wait_here(partial(get_executor().drop_snapshot, preparing, row.snapshot_id))
    execution, log = run(alice, task, name)
    assert (execution.status, log[0]) == ("completed", "[TaskHub: prepare]")
    assert PreparedSnapshot.objects.get().state == "waiting"
    prepared()
    assert run(alice, task, name)[1][0] == "[TaskHub: script]"


def test_the_snapshot_of_an_old_version_is_deleted(alice: User, task: Task, name: str) -> None:
    make(name)
    row = prepared()
    environment_update(actor=SYSTEM, name=name, prepare="echo otherwise >variables")
    assert prepared_names() == [f"taskhub-{name}-2"]
    preparing = Preparing(row.sandbox_name, row.name, row.version.spec)

    async def look() -> Any:
        async with open_gateway() as gateway:
            return await gateway.snapshots.find(preparing.snapshot)

    assert async_to_sync(look)() is None
    assert run(alice, task, name, "cat ~/variables")[1] == ["[TaskHub: script]", "otherwise"]


def prepared_names() -> list[str]:
    wait_until(lambda: is_in("active") and PreparedSnapshot.objects.count() == 1, "the new one alone is there", 120)
    return list(PreparedSnapshot.objects.values_list("name", flat=True))
