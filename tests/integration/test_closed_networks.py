"""Networks that are closed between setup and script: whole runs, by the official SDK, against a Daytona that can."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from sandboxes.execute.executor import SandboxExecutor
from taskhub import jobs
from taskhub.auth.actor import SYSTEM
from taskhub.models import Execution, ExecutionStatus, Task
from taskhub.services.environments import environment_create
from taskhub.services.execution_leases import execution_take_lease
from taskhub.web.thread_pool import wait_here
from taskhub.worker import preparation
from taskhub.worker.following import Following
from tests.agents.calls import result
from tests.closing_daytona import CLOSED, DROPPED, ClosingDaytona
from tests.daytona_document import assert_documented
from tests.git_servers import git, git_daemon, make_repository

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sandboxes"), pytest.mark.sqlite_suffices]
LOG = ["[TaskHub: checkout]", "[TaskHub: setup]", "prepared 1", "[TaskHub: script]", "script 1"]


@pytest.fixture
def daytona(sandbox_server: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClosingDaytona]:
    monkeypatch.setattr(preparation, "LOCK_AGAIN_S", 0.01)
    with ClosingDaytona(sandbox_server.removesuffix("/api")).serving() as played:
        settings.DAYTONA_API_URL = played.address
        yield played


@pytest.fixture
def begun(alice: User, daytona: ClosingDaytona, tmp_path: Path) -> Iterator[Execution]:
    """A run whose checkout and setup are under way; each time that its script runs, it says how often it did."""
    app = make_repository(tmp_path / "app", a="1\n")
    with git_daemon(tmp_path) as address:
        environment_create(
            actor=SYSTEM,
            name="backend",
            network="none",
            repository={"url": f"{address}/app", "before_lock": True},
            setup='echo x >>~/setups; echo prepared "$(wc -l <~/setups)"',
        )
        task = Task.objects.create(title="t")
        arguments = {"task_id": str(task.pk), "script_content": 'echo x >>~/scripts; echo script "$(wc -l <~/scripts)"'}
        queued = result(alice, "execute_task", **arguments, environment="backend")
        jobs.execution_start(queued["execution_id"])
        execution = Execution.objects.get()
        assert (execution.status, execution.commit) == ("starting", "")
        yield execution
    assert Execution.objects.get().commit == git(app, "rev-parse", "HEAD")


def taken() -> Following:
    """By a worker, after the one before has died."""
    Execution.objects.update(lease_until=None)
    execution_id = Execution.objects.get().pk
    execution = execution_take_lease(execution_id=execution_id, status=ExecutionStatus.RUNNING, lease_s=60)
    assert execution is not None
    return Following(execution)


def log_of(user: User, execution: Execution) -> list[str]:
    return str(result(user, "get_execution", task_id=str(execution.task_id))["log"]).splitlines()


def assert_completed(user: User, daytona: ClosingDaytona) -> None:
    ended = Execution.objects.get()
    assert (ended.status, ended.exit_code, ended.error_code) == ("completed", 0, ""), ended.error_message
    assert (ended.network_closed, ended.attempts) == (True, 1)
    assert log_of(user, ended) == LOG
    # Open until then: what is closed later is not closed at the creation.
    assert [body for body in daytona.created if "networkBlockAll" in body] == []
    for body, written in daytona.asked:
        assert body == {"networkBlockAll": True}
        assert_documented("UpdateSandboxNetworkSettings", body)
        assert "prepared" in written
        assert "script" not in written.replace("[TaskHub: script]", "")


def test_script_begins_when_the_network_is_closed(alice: User, daytona: ClosingDaytona, begun: Execution) -> None:
    wait_here(taken().run)
    assert_completed(alice, daytona)
    assert len(daytona.asked) == 1


@pytest.mark.parametrize("trouble", [(503, {"message": "not now"}), DROPPED], ids=["503", "no answer"])
def test_close_that_is_not_answered_is_asked_for_again(
    alice: User, daytona: ClosingDaytona, begun: Execution, trouble: Any
) -> None:
    daytona.answers = [trouble, trouble, CLOSED]
    wait_here(taken().run)
    assert_completed(alice, daytona)
    assert len(daytona.asked) == 3


@pytest.mark.parametrize("is_late", [False, True], ids=["before it is written down", "before the script may begin"])
def test_worker_that_dies_after_the_close(
    alice: User, daytona: ClosingDaytona, begun: Execution, monkeypatch: pytest.MonkeyPatch, is_late: bool
) -> None:
    """Nothing is written any more: what goes on then is what another worker finds."""
    dying = asyncio.Event()

    async def never(*_: Any, **__: Any) -> None:
        dying.set()
        await asyncio.Event().wait()

    async def die() -> None:
        running = asyncio.create_task(taken_following.run())
        await dying.wait()
        running.cancel()
        await asyncio.wait([running])

    taken_following = taken()
    with monkeypatch.context() as patched:
        if is_late:
            patched.setattr(SandboxExecutor, "let_begin", never)
        else:
            closes = SandboxExecutor.close_network

            async def closed(executor: SandboxExecutor, place: Any) -> None:
                await closes(executor, place)
                await never()

            patched.setattr(SandboxExecutor, "close_network", closed)
        wait_here(die)
    row = Execution.objects.get()
    assert (row.status, row.network_closed, len(daytona.asked)) == ("starting", is_late, 1)
    wait_here(taken().run)
    assert_completed(alice, daytona)
    assert len(daytona.asked) == (1 if is_late else 2)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, {"networkBlockAll": False}), "The sandbox service says that it is still open."),
        (
            (400, {"message": "Network access is restricted and cannot be overridden at the sandbox level"}),
            "does not let this hub's account say what a single sandbox may reach.",
        ),
    ],
    ids=["still open", "refused"],
)
def test_close_that_is_refused_fails_the_run(
    alice: User, daytona: ClosingDaytona, begun: Execution, answer: Any, reason: str
) -> None:
    daytona.answers = [answer]
    wait_here(taken().run)
    ended = Execution.objects.get()
    assert (ended.status, ended.error_code, ended.exit_code, ended.started_at, ended.network_closed) == (
        *("failed", "network_not_closed", None, None),
        False,
    )
    assert ended.error_message.startswith("The network was not closed between setup and script, so the execution was")
    assert reason in ended.error_message
    assert log_of(alice, ended) == LOG[:3]
