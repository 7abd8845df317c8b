"""The Follower against a Daytona that is ill: whatever happens to the connection, no line is missing or comes twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandboxes import log_follower
from sandboxes.backoff import Backoff
from sandboxes.circuit_breaker import breaker
from sandboxes.errors import InsideFailed, KeyRefused, SandboxError, SandboxMissing, SandboxRefused, SandboxUnavailable
from sandboxes.gateway import open_gateway, toolbox
from sandboxes.log_follower import Follower
from taskhub.events.wire_json import size_of
from taskhub.executions.executor import LogLine
from tests.processes import wait_until
from tests.sandboxes.ill_daytona import FOLLOW, KEY, Daytona

FOLLOWING = "/logs.follow=true"
NASTY = r"""
printf 'plain\n\n'; printf 'wrong\n' >&2; printf '\n\n' >&2
printf 'one\rtwo\r\n'; printf '\033[31mred\033[0m\n'
printf '\377\376 \342\202 \342\202\254 \360\237\n'
head -c 70000 /dev/zero | tr '\0' 'x'; echo; head -c 131072 /dev/zero | tr '\0' 'y' >&2; echo >&2
for n in 1 2 3 4 5; do echo out $n; echo err $n >&2; done
printf 'no end'
"""
Trouble = tuple[SandboxError, float]
Hear = Callable[[SandboxError, float], None]


@pytest.fixture
def daytona(lonely_daytona: Daytona) -> Iterator[Daytona]:
    yield lonely_daytona
    if lonely_daytona.process is None:
        lonely_daytona.start()
    lonely_daytona.heal()


@pytest.fixture(autouse=True)
def at_this_daytona(settings, daytona: Daytona) -> Iterator[None]:
    settings.DAYTONA_API_URL = daytona.api_url
    settings.DAYTONA_API_KEY = KEY
    breaker.succeeded()
    yield
    breaker.succeeded()


class Reading:
    """One reading of a log, from its first line."""

    def __init__(self, sandbox_id: str, command_id: str, hear: Hear | None = None, *, most: int | None = None) -> None:
        self.sandbox_id = sandbox_id
        self.command_id = command_id
        self.lines: list[LogLine] = []
        self.troubles: list[Trouble] = []
        self.exit_code: int | None = None
        self.hear = hear
        self.most = most

    def _has_enough(self) -> bool:
        return self.most is not None and len(self.lines) >= self.most

    def _trouble(self, error: SandboxError, delay: float) -> None:
        self.troubles.append((error, delay))
        if self.hear is not None:
            self.hear(error, delay)

    async def read(self, *, patiently: bool = False) -> Reading:
        async with open_gateway(watching=True) as gateway:
            document = await gateway.document(self.sandbox_id)
            inside = gateway.toolbox(self.sandbox_id, document["toolboxProxyUrl"])
            follower = Follower(inside, "s", self.command_id, self._trouble, enough=self._has_enough)
            if not patiently:
                follower._backoff = Backoff(first_s=0.005, most_s=0.02)
            async with aclosing(follower.lines()) as batches:
                async for batch in batches:
                    self.lines += batch
            self.exit_code = follower.exit_code
        return self

    @property
    def told(self) -> list[tuple[int, str, str]]:
        return [(line.n, line.stream, line.line) for line in self.lines]


def whole_log(daytona: Daytona, sandbox_id: str, command_id: str) -> dict[str, str]:
    path = f"/toolbox/{sandbox_id}/process/session/s/command/{command_id}/logs"
    return dict(daytona.call("GET", path))


def finished(daytona: Daytona, text: str) -> tuple[str, str]:
    sandbox_id, command_id = daytona.command(text)
    wait_until(lambda: daytona.exit_code(sandbox_id, command_id) is not None, "the command ends")
    return sandbox_id, command_id


@pytest.fixture(scope="module")
def nasty(lonely_daytona: Daytona) -> tuple[str, str]:
    """A finished command with a log of all that is hard."""
    return finished(lonely_daytona, NASTY)


async def test_every_kind_of_line_comes_as_it_was_written(daytona: Daytona, nasty: tuple[str, str]) -> None:
    reading = await Reading(*nasty).read()
    written = whole_log(daytona, *nasty)
    assert [n for n, _, _ in reading.told] == list(range(1, len(reading.told) + 1))
    for stream in ("stdout", "stderr"):
        mark = log_follower.SPLIT_MARK
        parts = [line for _, each, line in reading.told if each == stream]
        assert all(size_of(part.removesuffix(mark)) <= log_follower.LINE_BYTES + len('""') for part in parts)
        told = "".join(part.removesuffix(mark) if part.endswith(mark) else f"{part}\n" for part in parts)
        assert told == written[stream]
    lines = [line for _, _, line in reading.told]
    assert {"one\rtwo\r", "\x1b[31mred\x1b[0m", "", "no end"} <= set(lines)
    assert "\ufffd\ufffd \ufffd € \ufffd" in lines
    assert sum(line.endswith(mark) for line in lines) == 2  # 70,000 and 131,072 characters: two pieces each
    assert reading.exit_code == 0


async def test_an_empty_log_ends_with_its_command(daytona: Daytona) -> None:
    reading = await Reading(*finished(daytona, "bash -c 'exit 3'")).read()
    assert (reading.told, reading.exit_code) == ([], 3)


@pytest.mark.parametrize("most", [0, 1, 100])
async def test_what_is_enough_is_read_to_its_end_without_lines(daytona: Daytona, most: int) -> None:
    sandbox_id, command_id = daytona.command("seq 100; read line; seq 101 500; printf unfinished; bash -c 'exit 7'")
    reading = Reading(sandbox_id, command_id, most=most)
    task = asyncio.create_task(reading.read())
    await asyncio.to_thread(wait_until, lambda: len(reading.lines) >= most, "the lines that are wanted")
    await asyncio.to_thread(daytona.input, sandbox_id, command_id, "go on")
    await asyncio.wait_for(task, 60)
    # What came in one piece with the last line that was wanted is delivered with it.
    assert most <= len(reading.lines) <= (100 if most else 0)
    assert [n for n, _, _ in reading.told] == list(range(1, len(reading.lines) + 1))
    assert reading.exit_code == 7


def test_wherever_and_however_often_the_connection_is_cut_each_line_comes_once(
    daytona: Daytona, nasty: tuple[str, str]
) -> None:
    size = len(whole_log(daytona, *nasty)["output"].encode())
    expected = asyncio.run(Reading(*nasty).read()).told
    cuts = st.tuples(st.sampled_from([1001, 1006, 1011]), st.integers(0, 300) | st.integers(0, size))

    @settings(max_examples=25, suppress_health_check=[HealthCheck.differing_executors])
    @given(st.lists(cuts, max_size=5), st.integers(0, 300) | st.integers(0, size))
    def once(cuts: list[tuple[int, int]], end: int) -> None:
        daytona.heal()
        for code, after in cuts:
            daytona.fault(FOLLOWING, ws_close_code=code, after_bytes=after, times=1)
        # The last one ends in order, but early: what it did not bring is in the snapshot.
        daytona.fault(FOLLOWING, ws_close_code=1000, after_bytes=end)
        reading = asyncio.run(Reading(*nasty).read())
        assert reading.told == expected
        assert len(reading.troubles) == len(cuts)

    once()


async def test_a_log_that_is_cut_while_it_grows_misses_nothing(daytona: Daytona) -> None:
    sandbox_id, command_id = daytona.command("for n in $(seq 300); do echo line $n; read -t 0.002; done")
    for number in range(12):
        code = (1001, 1006, 1011)[number % 3]
        daytona.fault(FOLLOWING, ws_close_code=code, after_bytes=37 * number * number, times=1)
    reading = await Reading(sandbox_id, command_id).read()
    assert reading.told == [(n, "stdout", f"line {n}") for n in range(1, 301)]
    assert len(reading.troubles) == 12


async def test_a_429_is_waited_for_as_long_as_its_header_says(daytona: Daytona, nasty: tuple[str, str]) -> None:
    headers = {"Retry-After-authenticated": "1"}
    daytona.fault("/command/[^/]*$", status=429, headers=headers, body={"message": "slow down"}, times=1)
    reading = await Reading(*nasty).read()
    assert [(error.code, delay) for error, delay in reading.troubles] == [("sandbox_throttled", 1.0)]
    assert reading.exit_code == 0


async def test_also_a_connection_that_is_refused_with_429_waits_so_long(
    daytona: Daytona, nasty: tuple[str, str]
) -> None:
    daytona.fault(FOLLOWING, status=429, headers={"Retry-After-authenticated": "1"}, times=1)
    reading = await Reading(*nasty).read()
    assert [delay for _, delay in reading.troubles] == [1.0]


@pytest.mark.parametrize("match", [FOLLOWING, "/command/[^/]*$", "/logs$"])
async def test_errors_of_daytona_are_told_and_outlived(daytona: Daytona, nasty: tuple[str, str], match: str) -> None:
    expected = (await Reading(*nasty).read()).told
    for status in (500, 502, 503):
        daytona.fault(match, status=status, body={"message": "no"}, times=1)
    reading = await Reading(*nasty).read()
    assert reading.told == expected
    # What the sandbox itself answers is told apart from silence before it.
    assert [type(error) for error, _ in reading.troubles] == [InsideFailed, SandboxUnavailable, SandboxUnavailable]


@pytest.mark.parametrize("match", [FOLLOWING, "/command/[^/]*$"])
async def test_a_request_that_hangs_is_given_up(
    daytona: Daytona, nasty: tuple[str, str], match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolbox, "REQUEST_S", 0.5)
    monkeypatch.setattr(toolbox, "SILENCE_S", 0.3)
    daytona.fault(match, hang_s=60, times=1)
    reading = await Reading(*nasty).read()
    assert reading.told[-1][2] == "no end"


async def test_a_daytona_that_is_started_again_is_found_again(daytona: Daytona) -> None:
    sandbox_id, command_id = daytona.command("seq 1000; sleep 60")
    away = False

    def hear(error: SandboxError, delay: float) -> None:
        nonlocal away
        if not away:
            away = True
        elif daytona.process is None:
            daytona.start()

    async def stop_when_it_has_begun() -> None:
        while len(reading.lines) < 1000:  # noqa: ASYNC110 - what is read announces nothing
            await asyncio.sleep(0.01)
        await asyncio.to_thread(daytona.end)

    reading = Reading(sandbox_id, command_id, hear)
    async with asyncio.TaskGroup() as group:
        group.create_task(stop_when_it_has_begun())
        group.create_task(reading.read())
    assert [line for _, _, line in reading.told[:1000]] == [str(n) for n in range(1, 1001)]
    assert "restarted" in reading.told[1000][2]
    assert (len(reading.told), reading.exit_code) == (1001, 137)
    assert len(reading.troubles) >= 2


async def test_a_snapshot_that_lacks_lines_takes_none_away(daytona: Daytona, nasty: tuple[str, str]) -> None:
    expected = (await Reading(*nasty).read()).told
    for lines in (1, 4, 100):
        daytona.fault("/logs$", snapshot_drop_lines=lines, times=1)
        assert (await Reading(*nasty).read()).told == expected


async def test_where_the_log_is_too_long_for_a_snapshot_a_second_replay_brings_the_rest(
    daytona: Daytona, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = finished(daytona, "seq 2000")
    monkeypatch.setattr(log_follower, "SNAPSHOT_BYTES", 1000)
    daytona.fault(FOLLOWING, ws_close_code=1000, after_bytes=2000, times=1)
    # The second one is cut in its turn, after it has brought more than the first.
    daytona.fault(FOLLOWING, ws_close_code=1006, after_bytes=9000, times=1)
    with daytona.counted() as asked:
        reading = await Reading(*place).read()
    assert [line for _, _, line in reading.told] == [str(n) for n in range(1, 2001)]
    assert asked[FOLLOW] >= 4


async def test_a_connection_that_is_never_closed_ends_with_its_command(
    daytona: Daytona, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed with no exit code, silent with one: only asking tells."""
    monkeypatch.setattr(toolbox, "SILENCE_S", 0.2)
    sandbox_id, command_id = daytona.command("echo begun; read line; echo $line")

    async def answer() -> None:
        while not reading.lines:  # noqa: ASYNC110 - what is read announces nothing
            await asyncio.sleep(0.01)
        await asyncio.to_thread(daytona.input, sandbox_id, command_id, "go on")

    reading = Reading(sandbox_id, command_id)
    async with asyncio.TaskGroup() as group:
        group.create_task(answer())
        group.create_task(reading.read())
    assert [line for _, _, line in reading.told] == ["begun", "go on", "go on"]  # what is typed is echoed


@pytest.mark.parametrize(
    ("how", "error"),
    # While it is being destroyed it is not started; of one that is gone the proxy says what it says of a bad key.
    [
        ("destroy", (SandboxMissing, SandboxRefused, KeyRefused)),
        ("stop", SandboxRefused),
        ("delete session", SandboxMissing),
    ],
)
async def test_what_ends_under_the_reader_is_an_error_after_all_that_was_written(
    daytona: Daytona, how: str, error: type[SandboxError]
) -> None:
    sandbox_id, command_id = daytona.command("seq 100; sleep 60")
    reading = Reading(sandbox_id, command_id)

    async def end_it() -> None:
        while len(reading.lines) < 100:  # noqa: ASYNC110 - what is read announces nothing
            await asyncio.sleep(0.01)
        method, path = {
            "destroy": ("DELETE", f"/api/sandbox/{sandbox_id}"),
            "stop": ("POST", f"/api/sandbox/{sandbox_id}/stop"),
            "delete session": ("DELETE", f"/toolbox/{sandbox_id}/process/session/s"),
        }[how]
        await asyncio.to_thread(daytona.call, method, path)

    ending = asyncio.create_task(end_it())
    with pytest.raises(error):
        await reading.read()
    await ending
    assert [line for _, _, line in reading.told] == [str(n) for n in range(1, 101)]


async def test_a_command_that_is_not_there_is_known_at_once(daytona: Daytona, nasty: tuple[str, str]) -> None:
    with daytona.counted() as asked, pytest.raises(SandboxMissing):
        await Reading(nasty[0], "no-such-command").read()
    assert FOLLOW not in asked
