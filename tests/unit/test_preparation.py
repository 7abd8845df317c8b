"""What comes before a script, as the runner tells it: the row follows, and the network is closed in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from taskhub.auth.actor import SYSTEM
from taskhub.executions.executor import (
    CheckedOut,
    ExecutorError,
    FileChanges,
    LogLine,
    Place,
    Produced,
    ProducedFile,
    ScriptBegun,
    ScriptEnd,
    Sign,
    Stopped,
    WaitsForLock,
)
from taskhub.models import Execution, ExecutionStatus
from taskhub.services import execution_leases, executions
from taskhub.services.environments import environment_create
from taskhub.services.execution_preparation import execution_mark_set_up
from taskhub.services.tasks import task_create
from taskhub.web.thread_pool import wait_here, with_database
from taskhub.worker import followed_log, following, preparation
from taskhub.worker.following import Following

pytestmark = pytest.mark.django_db
COMMIT = "a" * 40


class Runner:
    """Stands in for the executor: says these signs, and waits for the lock after a WaitsForLock."""

    def __init__(self, *signs: Sign, refusals: list[ExecutorError] | None = None) -> None:
        self.signs = signs
        self.refusals = refusals or []
        self.done: list[str] = []
        self.locked = asyncio.Event()

    async def follow_log(
        self, _: Place, *, on_sign: Callable[[Sign], None], **__: Any
    ) -> AsyncGenerator[list[LogLine], None]:
        for sign in self.signs:
            on_sign(sign)
            yield []
            if isinstance(sign, WaitsForLock):
                await self.locked.wait()

    async def close_network(self, _: Place) -> None:
        self.done.append(f"close while {await with_database(status)}")
        if self.refusals:
            raise self.refusals.pop(0)

    async def let_begin(self, _: Place) -> None:
        self.done.append("begin")
        self.locked.set()

    async def stop(self, *_: Any, **__: Any) -> Stopped:
        self.done.append("stop")
        return Stopped("signal", ScriptEnd(143, reason="setup"))

    async def produced_files(self, *_: Any, **__: Any) -> Produced:
        return Produced([ProducedFile("changes.patch", 3, is_change_set=True)], 0, FileChanges(0, []))

    async def read_file(self, _: Place, path: str, *, is_change_set: bool) -> AsyncGenerator[bytes, None]:
        yield f"{path} {is_change_set}".encode()[:3]


def status() -> str:
    return str(Execution.objects.get().status)


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path) -> Callable[..., Execution]:
    """An execution whose environment closes the network before the script, followed to its end."""
    settings.MEDIA_ROOT = str(tmp_path)
    monkeypatch.setattr(preparation, "LOCK_AGAIN_S", 0.01)
    monkeypatch.setattr(followed_log, "LOG_END_S", 0.1)
    repository = {"url": "https://git.example.com/app", "before_lock": True}
    environment_create(actor=SYSTEM, name="backend", network="none", repository=repository, setup_timeout_s=500)

    def run(runner: Runner, *, is_first: bool = True, limit_s: int = 500) -> Execution:
        monkeypatch.setattr(following, "get_executor", lambda: runner)
        task = task_create(actor=SYSTEM, title="t")
        queued = executions.execution_queue(actor=SYSTEM, task_id=task.pk, script="true", environment="backend")
        claimed = executions.execution_claim_start(execution_id=queued.pk, lease_s=60, is_queued=True)
        assert claimed is not None
        place = Place(queued.pk, "box", queued.session_name, "c")
        assert execution_mark_set_up(execution=claimed, place=place, setup_timeout_s=limit_s)
        again = executions.execution_claim_start(execution_id=queued.pk, lease_s=60)
        assert again is None, "it is started once"
        taken = execution_leases.execution_take_lease(
            execution_id=queued.pk, status=ExecutionStatus.RUNNING, lease_s=60
        )
        assert taken is not None
        wait_here(Following(taken, is_first=is_first).run)
        return Execution.objects.get()

    return run


def now() -> int:
    return int(timezone.now().timestamp())


def test_network_is_closed_before_the_script_begins(follow: Callable[..., Execution]) -> None:
    away = ExecutorError("away", "It is away.", permanent=False)
    runner = Runner(CheckedOut(COMMIT), WaitsForLock(), ScriptBegun(now()), ScriptEnd(0), refusals=[away])
    ended = follow(runner)
    assert runner.done == ["close while starting", "close while starting", "begin"]
    assert (ended.status, ended.exit_code, ended.commit) == ("completed", 0, COMMIT)
    assert ended.started_at is not None
    # No file of its folder is new: all that it has changed of the checkout is in the change set.
    assert [artifact.path for artifact in ended.artifacts.all()] == ["changes.patch"]


def test_network_that_cannot_be_closed_ends_the_execution(follow: Callable[..., Execution]) -> None:
    refusal = ExecutorError("network_refused", "It does not let us.", permanent=True)
    runner = Runner(CheckedOut(COMMIT), WaitsForLock(), refusals=[refusal])
    ended = follow(runner)
    assert runner.done == ["close while starting", "stop"]
    assert (ended.status, ended.error_code, ended.exit_code) == ("failed", "network_not_closed", None)
    assert ended.error_message.endswith("so the execution was ended. It does not let us.")


def test_script_that_begins_too_early_is_ended(follow: Callable[..., Execution]) -> None:
    """The setup, or what it has fetched, may find out how to make it begin."""
    runner = Runner(ScriptBegun(now()), ScriptEnd(0))
    ended = follow(runner)
    assert runner.done == ["stop"]
    assert (ended.status, ended.error_code) == ("failed", "network_not_closed")


@pytest.mark.parametrize(("ago_s", "shown_s"), [(30, 30), (90, 60), (-90, 0)])
def test_worker_that_takes_over_counts_from_the_scripts_begin(
    follow: Callable[..., Execution], ago_s: int, shown_s: int
) -> None:
    """As far as that can be: checkout and setup began a minute ago."""
    began = timezone.now()
    runner = Runner(WaitsForLock(), ScriptBegun(now() - ago_s), ScriptEnd(0))
    ended = follow(runner, is_first=False, limit_s=440)
    assert ended.started_at is not None
    assert (began - ended.started_at).total_seconds() == pytest.approx(shown_s, abs=5)
