"""The parts that many viewers share: a log's file, the relay, a live channel, one asking for all who ask."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from sandboxes.services.sandbox_state import is_older
from sandboxes.watch.polling import SingleFlight
from taskhub.events.ephemeral import RING, LiveChannel
from taskhub.executions import log_relay, shared_log
from taskhub.executions.executor import ExecutorError, LogLine
from taskhub.executions.log_relay import LogKey, LogRelay, Viewer
from taskhub.executions.shared_log import LogEnd, LogTooLong, SharedLog, Trouble
from tests.streaming import Frame, parse

KEY = LogKey("sandbox", "session", "command")


def numbered(lengths: list[int], first: int = 1) -> list[LogLine]:
    now = timezone.now()
    return [LogLine(n, "stdout", f"{n}:".ljust(length, "é"), now) for n, length in enumerate(lengths, first)]


def frames_of(body: bytes) -> list[Frame]:
    return list(parse(iter(body.decode().split("\n")[:-1])))


@pytest.fixture
def shared() -> Iterator[SharedLog]:
    made = SharedLog()
    yield made
    made.close()


@pytest.fixture
async def relay(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LogRelay]:
    monkeypatch.setattr(log_relay, "LINGER_S", 0.05)
    made = LogRelay()
    yield made
    await made.close()


@given(st.lists(st.lists(st.integers(0, 3000), max_size=120), max_size=8), st.integers(1, 5000), st.data())
def test_whatever_the_sizes_a_log_is_read_from_any_line_on_and_its_tail_is_its_end(
    batches: list[list[int]], chunk_bytes: int, data: st.DataObject
) -> None:
    with closing(SharedLog()) as shared, pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_log, "CHUNK_BYTES", chunk_bytes)
        lines: list[LogLine] = []
        for lengths in batches:
            batch = numbered(lengths, len(lines) + 1)
            lines += batch
            shared.append(batch)
        assert shared.lines == len(lines)
        assert shared.offset_after(len(lines)) == shared.size
        after = data.draw(st.integers(0, len(lines)))
        offset = shared.offset_after(after)
        read = b""
        while offset < shared.size:
            chunk = shared.read(offset, shared.size)
            assert chunk.endswith(b"\n\n"), "frames are never cut"
            read += chunk
            offset += len(chunk)
        assert [frame.json()["n"] for frame in frames_of(read)] == list(range(after + 1, len(lines) + 1))
        assert [frame.json()["line"] for frame in frames_of(read)] == [line.line for line in lines[after:]]
        count = data.draw(st.integers(1, 300))
        assert [line.line for line in shared.tail(count)] == [line.line for line in lines[-count:]]


async def collect(viewer: Viewer, *, idle_s: float = 5) -> tuple[list[int], list[Trouble | LogEnd]]:
    numbers: list[int] = []
    others: list[Trouble | LogEnd] = []
    async for item in viewer.items(idle_s=idle_s):
        if isinstance(item, bytes):
            numbers += [int(frame.id.partition(":")[2]) for frame in frames_of(item)]
        else:
            others.append(item)
    return numbers, others


@pytest.mark.parametrize("after", [0, 1, 255, 256, 257, 511, 900])
async def test_a_viewer_gets_what_they_have_not_had_also_if_it_comes_later(shared: SharedLog, after: int) -> None:
    shared.append(numbered([10] * 300))
    watching = asyncio.create_task(collect(Viewer(shared, name="c", after=after)))
    await asyncio.sleep(0)
    shared.append(numbered([10] * 700, 301))
    shared.finish(LogEnd(exit_code=0))
    assert await watching == (list(range(after + 1, 1001)), [LogEnd(exit_code=0)])


async def test_a_viewer_from_the_future_sees_the_end(shared: SharedLog) -> None:
    shared.append(numbered([10] * 5))
    shared.finish(LogEnd(exit_code=0))
    assert await collect(Viewer(shared, name="c", after=10**17)) == ([], [LogEnd(exit_code=0)])


async def test_silence_is_told(shared: SharedLog) -> None:
    with pytest.raises(TimeoutError):
        await collect(Viewer(shared, name="c", after=0), idle_s=0.05)


@pytest.mark.timeout(20)  # what is tested is that nothing spins
async def test_of_a_log_that_is_too_long_everything_that_is_here_can_be_read(shared: SharedLog, settings) -> None:
    settings.TASKHUB_LOG_SPOOL_BYTES = 20_000
    settings.TASKHUB_LOG_LIMIT_BYTES = 18_000
    shared.append(numbered([10] * 100))
    with pytest.raises(LogTooLong):
        shared.append(numbered([100] * 1000, 101))
    shared.finish(LogEnd(error=LogTooLong()))
    assert (shared.lines, shared.limit) == (100, None)
    for after in (0, 99, 100, 101, 150, 500, 1100, 5000):
        numbers, (end,) = await collect(Viewer(shared, name="c", after=after))
        assert numbers == list(range(after + 1, 101))
        assert isinstance(end, LogEnd)
        limited, _ = await collect(Viewer(shared, name="c", after=after, limited=True))
        assert limited == numbers
    assert [line.n for line in shared.tail(3)] == [98, 99, 100]


# --- The relay -------------------------------------------------------------------------------------------


async def test_all_who_watch_share_one_reading_and_the_last_one_closes_it(relay: LogRelay) -> None:
    readings = 0
    ended = asyncio.Event()

    async def read(shared: SharedLog) -> int:
        nonlocal readings
        readings += 1
        shared.append(numbered([5] * 3))
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return 0

    async def look() -> None:
        with relay.watch(KEY, read) as shared:
            viewer = Viewer(shared, name="c", after=0)
            async for _ in viewer.items():
                if viewer.after == 3:
                    return

    await asyncio.gather(*[look() for _ in range(50)])
    await look()  # it lingers for those who come right back
    assert readings == 1
    await asyncio.wait_for(ended.wait(), 60)
    assert len(relay) == 0
    await look()
    assert readings == 2


async def test_a_log_that_failed_is_read_anew_for_who_comes_next(relay: LogRelay) -> None:
    errors: list[Exception] = [ValueError("internal"), ExecutorError("gone", "It is gone.", permanent=True)]

    async def read(shared: SharedLog) -> int:
        if errors:
            raise errors.pop(0)
        shared.append(numbered([5]))
        return 7

    seen = []
    for _ in range(3):
        with relay.watch(KEY, read) as shared:
            assert relay.is_open(KEY)
            seen.append(await collect(Viewer(shared, name="c", after=0)))
    codes = [end.error.code if end.error else end.exit_code for _, (end,) in seen]  # type: ignore[union-attr]
    assert codes == ["log_failed", "gone", 7]
    assert relay.is_open(KEY), "one that ended well is kept for a moment"


async def test_a_viewer_hears_of_troubles_and_waits(relay: LogRelay) -> None:
    error = ExecutorError("away", "It is away.", permanent=False)

    async def read(shared: SharedLog) -> int:
        shared.report_trouble(error, 1.5)
        await asyncio.sleep(0.01)
        shared.append(numbered([5]))
        return 0

    with relay.watch(KEY, read) as shared:
        numbers, (trouble, end) = await collect(Viewer(shared, name="c", after=0))
    assert (numbers, end) == ([1], LogEnd(exit_code=0))
    assert isinstance(trouble, Trouble)
    assert trouble.error is error
    assert 0 < trouble.retry_s <= 1.5


async def test_who_comes_while_the_source_is_away_hears_of_it(shared: SharedLog) -> None:
    error = ExecutorError("away", "It is away.", permanent=False)
    shared.report_trouble(error, 60)
    first = await anext(Viewer(shared, name="c", after=0).items())
    assert isinstance(first, Trouble)
    assert 0 < first.retry_s <= 60


async def test_a_trouble_that_is_over_is_not_told(shared: SharedLog) -> None:
    shared.report_trouble(ExecutorError("away", "It is away.", permanent=False), 0)
    assert shared.trouble is None
    shared.finish(LogEnd(exit_code=0))
    assert await collect(Viewer(shared, name="c", after=0)) == ([], [LogEnd(exit_code=0)])


# --- Live channels ---------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 3 * RING), max_size=6))
def test_a_reader_gets_what_came_since_or_skips_to_the_newest(bursts: list[int]) -> None:
    async def read_all() -> None:
        emptied: list[bool] = []
        channel = LiveChannel(lambda: emptied.append(True))
        channel.take("value", "-1")  # what was before one joined is not told
        reader = channel.join()
        number = 0
        for burst in filter(None, bursts):
            for _ in range(burst):
                channel.take("value", json.dumps(number))
                number += 1
            numbers = [int(frames_of(frame.body)[0].data) for frame in await reader.next()]
            assert numbers == list(range(number - min(burst, RING), number))
        waiting = asyncio.create_task(reader.next())
        await asyncio.sleep(0)
        assert not waiting.done()
        channel.take("last", "0")
        assert [frame.name for frame in await waiting] == ["last"]
        reader.leave()
        reader.leave()
        assert emptied == [True]

    asyncio.run(read_all())


# --- One asking for all ----------------------------------------------------------------------------------


async def test_all_who_ask_at_once_share_one_answer_and_the_next_asks_again() -> None:
    flights = SingleFlight()
    asked = 0
    gate = asyncio.Event()

    async def ask() -> int:
        nonlocal asked
        asked += 1
        await gate.wait()
        return asked

    many = [asyncio.create_task(flights.run("key", ask)) for _ in range(10)]
    other = asyncio.create_task(flights.run("other", ask))
    await asyncio.sleep(0)
    many[0].cancel()  # a cancelled caller does not cancel the others
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*many[1:]) == [2] * 9
    assert (await other, asked) == (2, 2)
    assert await flights.run("key", ask) == 3


async def test_an_error_is_told_to_all_who_asked_and_does_not_stay() -> None:
    flights = SingleFlight()

    async def fail() -> int:
        await asyncio.sleep(0)
        raise ExecutorError("no", "No.", permanent=False)

    async def answer() -> int:
        return 1

    results = await asyncio.gather(*[flights.run("key", fail) for _ in range(5)], return_exceptions=True)
    assert [type(result) for result in results] == [ExecutorError] * 5
    assert await flights.run("key", answer) == 1


# --- Which of two descriptions is older ------------------------------------------------------------------

moments = st.datetimes().map(lambda moment: moment.isoformat() + "Z")
documents = st.fixed_dictionaries(
    {"state": st.sampled_from(["started", "stopped", "destroyed"])},
    optional={"updatedAt": moments | st.none() | st.text(max_size=5) | st.integers()},
)


@given(documents, documents)
def test_what_is_known_is_not_overtaken_from_behind(one: dict[str, str], other: dict[str, str]) -> None:
    assert not is_older(one, {})
    assert not is_older(one, one)
    assert not (is_older(one, other) and is_older(other, one))
    if one["state"] == "destroyed" != other["state"]:
        assert is_older(other, one), "nothing comes after the end"


@pytest.mark.parametrize(
    ("document", "known", "older"),
    [
        ("2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.001Z", True),
        ("2026-01-01T00:00:00.001Z", "2026-01-01T00:00:00.000Z", False),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000Z", False),
        ("2026-01-01T02:00:00+02:00", "2026-01-01T00:00:00.001Z", True),
        ("2026-01-01T00:00:00", "2026-01-01T00:00:00Z", False),
        ("yesterday", "2026-01-01T00:00:00Z", False),
    ],
)
def test_daytonas_own_time_decides(document: str, known: str, older: bool) -> None:
    assert is_older({"updatedAt": document}, {"updatedAt": known}) is older
