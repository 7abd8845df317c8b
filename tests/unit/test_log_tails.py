"""Tails of a running log: the first reader waits until the log pauses, and the others with it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from django.utils import timezone

from taskhub.executions import log_stream
from taskhub.executions.executor import LogLine
from taskhub.executions.shared_log import SharedLog

FOR_EVER_S = 900.0
AT_ONCE_S = 0.01
PATIENCE_S = 60.0


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[SharedLog]:
    """A log that has a line; readers that wait for a pause wait for ever."""
    for name in ("_PAUSE_S", "_CONNECT_S", "_READ_S"):
        monkeypatch.setattr(log_stream, name, FOR_EVER_S)
    made = SharedLog()
    made.append([LogLine(1, "stdout", "x", timezone.now())])
    yield made
    made.close()


async def test_a_log_that_was_read_once_is_answered_at_once(shared: SharedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_stream, "_PAUSE_S", AT_ONCE_S)
    await log_stream._until_pause(shared, None)
    monkeypatch.setattr(log_stream, "_PAUSE_S", FOR_EVER_S)
    await asyncio.wait_for(log_stream._until_pause(shared, None), PATIENCE_S)


async def test_readers_that_wait_are_answered_with_the_first_one(
    shared: SharedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [asyncio.create_task(log_stream._until_pause(shared, None)) for _ in range(3)]
    await asyncio.sleep(0)
    monkeypatch.setattr(log_stream, "_READ_S", AT_ONCE_S)
    await log_stream._until_pause(shared, None)
    await asyncio.wait_for(asyncio.gather(*others), PATIENCE_S)


async def test_a_log_without_a_line_is_waited_for_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection may still be on its way."""
    monkeypatch.setattr(log_stream, "_CONNECT_S", AT_ONCE_S)
    silent = SharedLog()
    await log_stream._until_pause(silent, None)
    assert not silent.has_caught_up
    silent.close()


async def test_a_reader_that_needs_more_text_waits_for_it(shared: SharedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may have read further, and said how long the log is."""
    shared.has_caught_up = True
    needs = shared.text_size + 1
    reading = asyncio.create_task(log_stream._until_pause(shared, needs))
    await asyncio.sleep(0)
    assert not reading.done()
    shared.append([LogLine(2, "stdout", "y", timezone.now())])
    await asyncio.wait_for(reading, PATIENCE_S)
