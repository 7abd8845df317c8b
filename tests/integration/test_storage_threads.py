"""Reads of a storage that hangs: they wait for each other, and nothing else waits for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from taskhub.executions import log_archive, log_reading
from taskhub.lib.storage_threads import THREADS, on_storage_thread
from taskhub.models import Execution, ExecutionStatus


class Hanging:
    """A storage whose reads begin, and end when the test lets them."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Event()

    def tail(self, name: str, count: int) -> list[object]:
        self.begun.release()
        assert self.let_go.wait(60)
        return []


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    made = Hanging()
    monkeypatch.setattr(log_archive, "tail", made.tail)
    yield made
    made.let_go.set()


def test_a_storage_that_hangs_keeps_no_other_work_of_the_loop_waiting(hanging: Hanging) -> None:
    ended = Execution(status=ExecutionStatus.COMPLETED, log_file="logs/x.log")

    async def work() -> None:
        readers = [asyncio.create_task(log_reading.log_tail(ended, 1)) for _ in range(4 * THREADS)]
        for _ in range(THREADS):
            assert await asyncio.to_thread(hanging.begun.acquire, timeout=60)
        # What the default pool is for: names are looked up, and each turn of the loop finds a free thread.
        found = await asyncio.get_running_loop().getaddrinfo("localhost", 80)
        assert found
        assert not any(reader.done() for reader in readers)
        hanging.let_go.set()
        assert {len(window.lines) for window in await asyncio.gather(*readers)} == {0}

    asyncio.run(asyncio.wait_for(work(), 120))


def test_what_the_storage_raises_comes_to_the_reader() -> None:
    def fail() -> None:
        raise OSError("no such bucket")

    with pytest.raises(OSError, match="no such bucket"):
        asyncio.run(on_storage_thread(fail))
