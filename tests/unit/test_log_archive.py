"""The archive of a log: what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from taskhub.executions import log_archive
from taskhub.executions.executor import LogLine


def line(n: int) -> LogLine:
    return LogLine(n, "stdout", f"line {n}", timezone.now())


@pytest.fixture(autouse=True)
def storage(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = str(tmp_path)


async def test_a_log_that_stays_silent_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_archive, "SILENCE_S", 0.05)
    closed = asyncio.Event()

    async def source() -> AsyncGenerator[list[LogLine], None]:
        try:
            yield [line(1), line(2)]
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with asyncio.timeout(30):
        archived = await log_archive.write("silent.log", source())
        await closed.wait()
    assert (archived.lines, archived.truncated) == (2, False)
    assert [found.line for found in log_archive.read("silent.log")] == ["line 1", "line 2"]


async def test_a_log_that_never_ends_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_archive, "WRITE_S", 0.0)

    async def source() -> AsyncGenerator[list[LogLine], None]:
        n = 0
        while True:
            n += 1
            yield [line(n)]
            await asyncio.sleep(0)

    async with asyncio.timeout(30):
        archived = await log_archive.write("endless.log", source())
    assert archived.truncated
    *_, last = log_archive.read("endless.log")
    assert (last.n, last.stream) == (archived.lines, "stderr")
    assert "it had not ended 0 s after the script" in last.line


def test_the_limits_are_what_the_documents_say() -> None:
    assert (log_archive.SILENCE_S, log_archive.WRITE_S) == (10.0, 60.0)
