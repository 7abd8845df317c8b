"""Which admitted executions a worker starts without another job."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from taskhub.lib.cancellation import cancel_all
from taskhub.models import Execution
from taskhub.worker import conductor
from taskhub.worker.conductor import Conductor


class Starts:
    """In the place of `start`: each call is noted, and goes on when the test lets it."""

    def __init__(self) -> None:
        self.called: asyncio.Queue[UUID] = asyncio.Queue()
        self.go_on = asyncio.Semaphore(0)
        self.claims = False
        self.takes: Callable[[UUID], bool]

    async def __call__(self, execution_id: UUID, *, on_claim: Any, takes: Callable[[UUID], bool], **_: Any) -> None:
        self.takes = takes
        self.called.put_nowait(execution_id)
        await self.go_on.acquire()
        if self.claims:
            on_claim(Execution(id=execution_id))


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Starts:
    made = Starts()
    monkeypatch.setattr(conductor, "start", made)
    return made


async def test_process_that_was_asked_too_early_starts_it_when_it_is_admitted(starts: Starts) -> None:
    mine, others = uuid.uuid4(), uuid.uuid4()
    made = Conductor()
    made.start(mine)
    assert await starts.called.get() == mine
    starts.go_on.release()
    await asyncio.gather(*made._tasks.values())
    assert await asyncio.to_thread(starts.takes, mine)
    assert not await asyncio.to_thread(starts.takes, others), "a job is sent for it"
    async with asyncio.timeout(10):
        assert await starts.called.get() == mine
    await end(made)


@pytest.mark.parametrize("claims", [True, False])
async def test_admission_that_comes_while_the_job_still_looks_is_not_lost(starts: Starts, claims: bool) -> None:
    mine = uuid.uuid4()
    made = Conductor()
    made.start(mine)
    await starts.called.get()
    starts.claims = claims
    assert await asyncio.to_thread(starts.takes, mine)
    starts.go_on.release()
    first = made._tasks[mine]
    await first
    if claims:
        await asyncio.sleep(0)
        assert starts.called.empty(), "the job itself has claimed it"
    else:
        async with asyncio.timeout(10):
            assert await starts.called.get() == mine
    await end(made)


async def test_process_that_ends_takes_nothing(starts: Starts) -> None:
    mine = uuid.uuid4()
    made = Conductor()
    made.start(mine)
    await starts.called.get()
    made._closing = asyncio.create_task(asyncio.sleep(0))
    assert not await asyncio.to_thread(starts.takes, mine)
    await end(made)


async def end(made: Conductor) -> None:
    assert made._ticker is not None
    await cancel_all(made._ticker, *made._tasks.values())
