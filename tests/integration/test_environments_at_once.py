"""50 agents on three environments with limits, two workers, and an operator who changes and deletes environments."""

from __future__ import annotations

import threading
from collections import Counter
from queue import SimpleQueue
from typing import Any
from uuid import UUID

import pytest
from django.db import connections
from rest_framework.test import APIClient

from taskhub.auth.actor import Actor
from taskhub.executions.executor import Place
from taskhub.models import EnvironmentVersion, Execution, ExecutionStatus, SandboxSize
from taskhub.services import admission, capacity, executions
from taskhub.services.executions import Outcome
from taskhub.services.sandbox_sizes import held_sandboxes, size_of
from taskhub.services.tasks import task_create
from tests.conftest import client_of, make_account

pytestmark = pytest.mark.django_db(transaction=True)

ACCOUNTS = [f"account-{n}" for n in range(10)]
OF_LARGE = ACCOUNTS[2::3]
AGENTS = [(account, f"agent-{n}") for n in range(5) for account in ACCOUNTS]
CPUS = {"small": 1, "medium": 2, "large": 4}
ROOM = 10
LONG_S = 300


class Service:
    """A sandbox service: what it holds at a time, and the most that this ever was."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[UUID, int] = {}
        self.most = 0
        self.made: Counter[UUID] = Counter()

    def make(self, execution: Execution) -> Place:
        size = size_of(execution)
        with self._lock:
            self.made[execution.pk] += 1
            self._held[execution.pk] = size.cpu
            self.most = max(self.most, sum(self._held.values()))
        return Place(execution.pk, f"sandbox-{execution.pk}", execution.session_name, "command", size=size)

    def delete(self, execution: Execution) -> None:
        with self._lock:
            del self._held[execution.pk]


class Workers:
    """Two of them, from the admission of each execution to the end of its sandbox."""

    def __init__(self, service: Service, total: int) -> None:
        self._service = service
        self._todo: SimpleQueue[UUID | None] = SimpleQueue()
        self._left = total
        self._lock = threading.Lock()
        self.some_have_ended = threading.Event()
        """A third has; the others wait, or run."""
        self.may_go_on = threading.Event()
        self._some = total * 2 // 3
        self.most = 0
        self.errors: list[Exception] = []
        self._threads = [threading.Thread(target=self._work) for _ in range(2)]
        for thread in self._threads:
            thread.start()

    def admit(self) -> None:
        for execution_id in admission.executions_admit():
            self._todo.put(execution_id)
        self.most = max(self.most, held_sandboxes().size.cpu)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(LONG_S)

    def _work(self) -> None:
        try:
            while (execution_id := self._todo.get(timeout=LONG_S)) is not None:
                self._run(execution_id)
        except Exception as error:  # noqa: BLE001 - judged by the test
            self.errors.append(error)
        finally:
            self._end()
            connections.close_all()

    def _run(self, execution_id: UUID) -> None:
        execution = executions.execution_claim_start(execution_id=execution_id, lease_s=60)
        assert execution is not None
        assert executions.execution_mark_started(execution=execution, place=self._service.make(execution))
        capacity.admission_note_started()
        with self._lock:
            self._left -= 1
            left = self._left
        if left == self._some:
            self.some_have_ended.set()
        if left <= self._some:
            assert self.may_go_on.wait(LONG_S)
        assert executions.execution_finish(execution=execution, outcome=Outcome(ExecutionStatus.COMPLETED, exit_code=0))
        self._service.delete(execution)
        executions.execution_mark_released(execution=execution)
        self.admit()
        if left == 0:
            self._end()

    def _end(self) -> None:
        for _ in range(2):
            self._todo.put(None)


def made_by(operators: APIClient) -> None:
    for name, cpu in CPUS.items():
        body: dict[str, Any] = {"name": name, "image": "python:3.12", "cpu": cpu, "timeout_max_s": 60 * cpu}
        body["allowed"] = OF_LARGE if name == "large" else None
        assert operators.post("/api/environments/", body, format="json").status_code == 201


def execute(agent: APIClient, environment: str, **fields: Any) -> Any:
    task = agent.post("/api/tasks/", {"title": "t"}, format="json").json()["id"]
    body = {"script_content": "true", "environment": environment, **fields}
    return agent.post(f"/api/exec/{task}", body, format="json")


def test_50_agents_share_three_environments_that_are_changed_and_deleted_meanwhile(settings: Any) -> None:
    settings.TASKHUB_CAPACITY_CPU = ROOM
    operators = client_of(make_account("boss", "operator"))
    users = {name: make_account(name, "agent") for name in ACCOUNTS}
    made_by(operators)
    queued: dict[UUID, str] = {}
    for n, (account, name) in enumerate(AGENTS):
        where = "large" if account in OF_LARGE else ("small", "medium")[n % 2]
        actor = Actor(door="mcp", user=users[account], agent_name=name, claims=True)
        task = task_create(actor=actor, title=name, environment=where if n % 5 else None)
        execution = executions.execution_queue(actor=actor, task_id=task.pk, script="true", environment=where)
        queued[execution.pk] = where
    agent = client_of(users[ACCOUNTS[0]])
    assert execute(agent, "large").status_code == 404, "it is for others"
    assert execute(agent, "small", timeout_s=61).json()["error"]["code"] == "timeout_above_maximum"

    service = Service()
    workers = Workers(service, len(queued))
    workers.admit()
    assert workers.some_have_ended.wait(LONG_S)
    assert Execution.objects.filter(status=ExecutionStatus.RUNNING).exists()
    assert Execution.objects.filter(status=ExecutionStatus.QUEUED, waiting_reason="capacity").count() > 10
    assert operators.patch("/api/environments/small/", {"cpu": 3}, format="json").status_code == 200
    assert operators.delete("/api/environments/medium/").status_code == 204
    assert execute(agent, "medium").status_code == 404
    workers.may_go_on.set()
    workers.join()

    assert workers.errors == []
    assert set(Execution.objects.values_list("status", flat=True)) == {ExecutionStatus.COMPLETED}
    assert service.made == dict.fromkeys(queued, 1)
    assert workers.most <= ROOM
    assert 0 < service.most <= ROOM
    ran = Execution.objects.select_related("environment").in_bulk()
    assert {pk: version_of(ran[pk]).name for pk in queued} == queued
    assert {version_of(each).number for each in ran.values()} == {1}
    assert {(version_of(each).name, size_of(each)) for each in ran.values()} == {
        (name, SandboxSize(cpu, 1, 3)) for name, cpu in CPUS.items()
    }
    late = execute(agent, "small").json()["execution_id"]
    found = Execution.objects.select_related("environment").get(pk=late)
    assert (version_of(found).number, size_of(found).cpu) == (2, 3)


def version_of(execution: Execution) -> EnvironmentVersion:
    assert execution.environment is not None
    return execution.environment
