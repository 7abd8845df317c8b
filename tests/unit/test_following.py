"""Following an execution: what ends the wait for the rest of its log, where nothing says that this is the end."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from taskhub.executions import log_archive
from taskhub.executions.executor import LogLine, Observation, RunnerState, Stopped
from taskhub.models import Execution
from taskhub.services import executions
from taskhub.worker import followed_log, following, runner_watch
from taskhub.worker.following import Following


class SilentExecutor:
    """Its runner has died, and its log never ends. `pause_s` between lines; None: silence after two."""

    def __init__(self, pause_s: float | None, lock: Any = "free") -> None:
        self._pause_s = pause_s
        self._lock = lock
        self.looks = 0
        self.closed = asyncio.Event()

    async def follow_log(self, *_: Any, **__: Any) -> AsyncGenerator[list[LogLine], None]:
        try:
            yield [line(1), line(2)]
            n = 2
            while self._pause_s is not None:
                n += 1
                yield [line(n)]
                await asyncio.sleep(self._pause_s)
            await asyncio.Event().wait()
        finally:
            self.closed.set()

    async def runner_state(self, _: Any) -> RunnerState:
        self.looks += 1
        return RunnerState(self._lock, seen=False)

    async def observe(self, _: Any) -> list[Observation]:
        return [Observation("running")]  # its output is still open

    async def stop(self, *_: Any, **__: Any) -> Stopped:
        return Stopped("mark")


def line(n: int) -> LogLine:
    return LogLine(n, "stdout", f"line {n}", timezone.now())


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path) -> list[dict[str, Any]]:
    """What `execution_finish` was told. No database is there."""
    settings.MEDIA_ROOT = str(tmp_path)
    monkeypatch.setattr(following, "LOOK_S", 0.01)
    monkeypatch.setattr(following, "LAST_WORD_S", 0.01)
    monkeypatch.setattr(followed_log, "LOG_END_S", 0.1)
    told: list[dict[str, Any]] = []

    async def with_database(function: Any, **arguments: Any) -> bool:
        assert function is executions.execution_finish
        told.append(arguments)
        return True

    monkeypatch.setattr(following, "with_database", with_database)
    return told


@pytest.mark.parametrize("pause_s", [None, 0.0], ids=["silent", "endless"])
async def test_log_that_does_not_end_is_cut(
    monkeypatch: pytest.MonkeyPatch, ended: list[dict[str, Any]], pause_s: float | None
) -> None:
    executor = SilentExecutor(pause_s)
    monkeypatch.setattr(following, "get_executor", lambda: executor)
    execution = Execution(
        id=uuid.uuid4(), status="running", sandbox_id="s", command_id="c", log_token="0" * 64, log_file="log"
    )
    async with asyncio.timeout(30):
        await Following(execution).run()
        await executor.closed.wait()
    (told,) = ended
    assert told["archived"].truncated
    *_, last = log_archive.read("log")
    assert (last.n, last.stream) == (told["archived"].lines, "stderr")
    assert last.n == 3 if pause_s is None else last.n > 3
    assert "it had not ended 0 s after the script" in last.line


async def test_a_runner_that_does_not_begin_is_given_up(
    monkeypatch: pytest.MonkeyPatch, ended: list[dict[str, Any]]
) -> None:
    """The shell that was to start it has ended: there is no lock, and nothing will ever be heard."""
    executor = SilentExecutor(None, lock="unbegun")
    monkeypatch.setattr(following, "get_executor", lambda: executor)
    execution = Execution(
        id=uuid.uuid4(), status="running", sandbox_id="s", command_id="c", log_token="0" * 64, log_file="log"
    )
    async with asyncio.timeout(30):
        await Following(execution).run()
    (told,) = ended
    assert (told["outcome"].status, told["outcome"].error_code) == ("failed", "runner_died")
    assert "did not begin" in told["outcome"].error_message
    assert executor.looks == runner_watch.UNBEGUN_LOOKS


def test_limit_is_what_the_documents_say() -> None:
    assert followed_log.LOG_END_S == 10
