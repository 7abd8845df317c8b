"""`/sse?eventType=logs` over two web processes: every viewer has every line once, and upstream sees one of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from tests.processes import wait_until
from tests.sandboxes.ill_daytona import FOLLOW, KEY, Daytona, Watched, events
from tests.streaming import Frame, until

FOLLOWING = "/logs.follow=true"


def lines_in(frames: list[Frame]) -> list[str]:
    return [frame.json()["line"] for frame in frames if frame.event == "log"]


def read_all(url: str, **options: Any) -> list[Frame]:
    with events(url, **options) as frames:
        return list(frames)


def descriptors(pid: int) -> list[str]:
    """What the process has open."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            found.append(str(entry.readlink()))
    return found


def relayed(watched: Watched) -> int:
    """How many logs are relayed now: each has its file open, also while it lingers for those who come right back."""
    pids = [watched.processes[web].pid for web in ("one", "two")]
    return sum("/spool/" in name for pid in pids for name in descriptors(pid))


@asynccontextmanager
async def many() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(60)) as session:
        yield session


async def frames_from(session: aiohttp.ClientSession, url: str, last_id: str = "") -> AsyncIterator[Frame]:
    async with session.get(url, headers={"Last-Event-ID": last_id} if last_id else {}) as response:
        assert response.status == 200, await response.text()
        frame = Frame()
        async for raw in response.content:
            field, _, value = raw.decode().rstrip("\n").partition(": ")
            if field in {"event", "id", "data"}:
                setattr(frame, field, value)
            elif not field and frame.data:
                yield frame
                frame = Frame()


def test_a_log_comes_with_its_greeting_its_lines_and_its_end(watched: Watched, daytona: Daytona) -> None:
    sandbox_id, command_id = daytona.command("echo out; echo err >&2; bash -c 'exit 4'")
    frames = read_all(watched.log_url("one", sandbox_id, command_id))
    assert [frame.event for frame in frames] == ["connected", "log", "log", "log-complete", "disconnected"]
    greeting = frames[0].json()
    assert (greeting["sandboxId"], greeting["sessionId"], greeting["commandId"]) == (sandbox_id, "s", command_id)
    assert {(frame.json()["stream"], frame.json()["line"]) for frame in frames[1:3]} == {
        ("stdout", "out"),
        ("stderr", "err"),
    }
    assert [frame.id for frame in frames[1:4]] == [f"{command_id}:1", f"{command_id}:2", f"{command_id}:2:end"]
    assert (frames[3].json()["exit_code"], frames[3].json()["lines"]) == (4, 2)
    assert frames[4].json()["reason"] == "log_complete"
    assert all("timestamp" in frame.json() for frame in frames)


async def test_viewers_that_move_between_processes_miss_and_repeat_nothing(watched: Watched, daytona: Daytona) -> None:
    command = "for n in $(seq 2000); do echo line $n; (( n % 50 )) || read -t 0.05; done"
    sandbox_id, command_id = await asyncio.to_thread(daytona.command, command)
    urls = [watched.log_url(web, sandbox_id, command_id) for web in ("one", "two")]
    for number in range(6):
        code = (1001, 1006, 1011)[number % 3]
        daytona.fault(FOLLOWING, ws_close_code=code, after_bytes=1 + 900 * number, times=1)

    async def wander(session: aiohttp.ClientSession, seed: int) -> tuple[list[str], int]:
        choice = random.Random(seed)
        seen: list[str] = []
        last_id, moves = "", 0
        while not last_id.endswith(":end"):
            patience = choice.randint(1, 300)
            async for frame in frames_from(session, urls[(seed + moves) % 2], last_id):
                last_id = frame.id or last_id
                if frame.event == "log":
                    seen.append(frame.json()["line"])
                    patience -= 1
                if not patience or frame.event == "disconnected":
                    break
            moves += 1
        return seen, moves

    async with many() as session:
        results = await asyncio.gather(*[wander(session, seed) for seed in range(8)])
    for seen, _ in results:
        assert seen == [f"line {n}" for n in range(1, 2001)]
    assert min(moves for _, moves in results) > 3


async def test_two_hundred_viewers_of_a_command_cost_one_connection_per_process(
    watched: Watched, daytona: Daytona
) -> None:
    sandbox_id, command_id = await asyncio.to_thread(daytona.command, "seq 500; read line; seq 501 1000")
    urls = [watched.log_url(web, sandbox_id, command_id) for web in ("one", "two")]
    lingering = relayed(watched)  # of other tests; what they still ask is counted, too
    complete = 0
    halfway = asyncio.Event()

    async def view(session: aiohttp.ClientSession, url: str) -> list[str]:
        nonlocal complete
        seen = []
        async for frame in frames_from(session, url):
            if frame.event == "log":
                seen.append(frame.json()["line"])
            if len(seen) == 500:
                complete += 1
                if complete == 200:
                    halfway.set()
        return seen

    with daytona.counted() as asked:
        async with many() as session:
            viewers = [asyncio.create_task(view(session, urls[number % 2])) for number in range(200)]
            await asyncio.wait_for(halfway.wait(), 60)
            during = await asyncio.to_thread(daytona.requests)
            late = asyncio.create_task(view(session, urls[0]))
            await asyncio.to_thread(daytona.input, sandbox_id, command_id, "go on")
            results = await asyncio.gather(*viewers, late)
    numbers = [str(n) for n in range(1, 501)]
    assert all(seen == [*numbers, "go on", *[str(n) for n in range(501, 1001)]] for seen in results)
    assert during[FOLLOW] > 0
    # Each process: one connection, and one snapshot of the finished log.
    assert 4 <= asked[FOLLOW] <= 4 + 3 * lingering
    # It is looked at now and then for as long as it lasts; not once for each viewer.
    assert asked["GET /toolbox/{sandboxId}/process/session/{sessionId}/command/{commandId}"] <= 20 + 3 * lingering


def test_a_slow_viewer_slows_nobody(watched: Watched, daytona: Daytona) -> None:
    sandbox_id, command_id = daytona.command("head -c 3000000 /dev/zero | tr '\\0' x | fold -w 1000; echo; echo last")
    url = watched.log_url("one", sandbox_id, command_id)
    with events(url) as slow:
        assert next(slow).event == "connected"
        frames = read_all(url)
        assert lines_in(frames)[-1] == "last"
        # It took nothing meanwhile, and has it all when it wants it.
        assert lines_in(list(slow)) == lines_in(frames)


@pytest.mark.parametrize("place", ["header", "query"])
def test_last_event_id_says_where_to_go_on(watched: Watched, daytona: Daytona, place: str) -> None:
    sandbox_id, command_id = daytona.command("seq 10")
    url = watched.log_url("one", sandbox_id, command_id)

    def get(last_id: str) -> httpx.Response:
        if place == "query":
            return httpx.get(f"{url}&{httpx.QueryParams({'lastEventId': last_id})}", trust_env=False)
        return httpx.get(url, headers={"Last-Event-ID": last_id}, trust_env=False)

    for garbage in ("x", ":", f"{command_id}", f"{command_id}:", f"{command_id}:-1", f"{command_id}:1:ende", "other:3"):
        refused = get(garbage)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "last_event_id_malformed"), garbage
        assert refused.headers["Access-Control-Allow-Origin"] == "*"
    for huge in (f"{command_id}:{'9' * 19}", "9" * 5000):
        assert get(huge).status_code == 400
    assert get(f"{command_id}:10:end").status_code == 204
    future = get(f"{command_id}:{'9' * 18}").text
    assert "log-complete" in future
    assert "event: log\n" not in future
    assert [line for line in get(f"{command_id}:7").text.split("\n") if line.startswith("id")] == [
        *(f"id: {command_id}:{n}" for n in (8, 9, 10)),
        f"id: {command_id}:10:end",
    ]


@pytest.mark.parametrize(
    ("how", "codes"),
    [
        ("destroy", {"sandbox_not_found", "sandbox_refused"}),
        ("stop", {"sandbox_refused"}),
        ("delete session", {"command_not_found"}),
    ],
)
def test_what_ends_while_it_is_watched_is_a_log_error_and_then_refused(
    watched: Watched, daytona: Daytona, how: str, codes: set[str]
) -> None:
    sandbox_id, command_id = daytona.command("seq 100; sleep 60")
    url = watched.log_url("one", sandbox_id, command_id)
    with events(url) as frames:
        seen = until(frames, lambda frame: frame.id == f"{command_id}:100")
        method, path = {
            "destroy": ("DELETE", f"/api/sandbox/{sandbox_id}"),
            "stop": ("POST", f"/api/sandbox/{sandbox_id}/stop"),
            "delete session": ("DELETE", f"/toolbox/{sandbox_id}/process/session/s"),
        }[how]
        daytona.call(method, path)
        rest = list(frames)
    assert lines_in(seen) == [str(n) for n in range(1, 101)]
    assert {frame.event for frame in rest[:-2]} <= {"error"}
    assert [frame.event for frame in rest[-2:]] == ["log-error", "disconnected"]
    assert rest[-2].json()["code"] in codes
    assert rest[-2].id == f"{command_id}:100"
    # Who comes back is told before any stream opens, and not by what the relay remembers.
    refused = httpx.get(url, headers={"Last-Event-ID": rest[-2].id}, trust_env=False)
    assert refused.status_code in {404, 409}


def test_a_command_whose_shell_died_is_given_back_when_it_is_silent(watched: Watched, daytona: Daytona) -> None:
    sandbox_id = daytona.sandbox()
    daytona.session(sandbox_id)
    command_id = daytona.run(sandbox_id, "echo before; exit 5")
    frames = read_all(watched.log_url("one", sandbox_id, command_id))
    assert lines_in(frames) == ["before"]
    assert (frames[-1].event, frames[-1].json()["reason"]) == ("disconnected", "idle")


def test_a_daytona_that_is_away_at_the_start_is_an_error_event_and_no_refusal(
    watched: Watched, daytona: Daytona
) -> None:
    sandbox_id, command_id = daytona.command("seq 3")
    daytona.fault("GET /(toolbox|api)/", status=503, body={"message": f"internal {KEY}"}, times=3)
    frames = read_all(watched.log_url("two", sandbox_id, command_id))
    assert frames[0].event == "connected"
    troubles = [frame.json() for frame in frames if frame.event == "error"]
    assert troubles
    assert all(trouble["code"] == "sandbox_unavailable" and trouble["retry_in_ms"] > 0 for trouble in troubles)
    assert lines_in(frames) == ["1", "2", "3"]
    assert not any(KEY in frame.data for frame in frames)


def test_what_is_not_there_is_404_with_a_name(watched: Watched, daytona: Daytona) -> None:
    sandbox_id, command_id = daytona.command("true")
    for sandbox, session, command, code in (
        ("no-such-sandbox", "s", command_id, "sandbox_not_found"),
        (sandbox_id, "no-such-session", command_id, "session_not_found"),
        (sandbox_id, "s", "no-such-command", "command_not_found"),
    ):
        refused = httpx.get(watched.log_url("one", sandbox, command, session), trust_env=False)
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, code)


async def test_viewers_that_come_and_go_at_random_leave_nothing_behind(watched: Watched, daytona: Daytona) -> None:
    places = [await asyncio.to_thread(daytona.command, "seq 200; sleep 120") for _ in range(3)]
    pid = watched.processes["one"].pid
    wait_until(lambda: watched.status("one")["connected_clients"] == 0, "all others are gone")
    before = len(descriptors(pid))
    choice = random.Random(5)

    async def visit(session: aiohttp.ClientSession) -> None:
        for _ in range(4):
            sandbox_id, command_id = choice.choice(places)
            kind = choice.choice(["logs", "logs", "sandbox-status", "sessions"])
            url = watched.sse("one", sandboxId=sandbox_id, eventType=kind)
            if kind == "logs":
                url = watched.log_url("one", sandbox_id, command_id)
            left = choice.choice([0, 1, 2, 150, 10**6])
            try:
                async with asyncio.timeout(choice.uniform(0.01, 1.5)):
                    async for _ in frames_from(session, url):
                        left -= 1
                        if left <= 0:
                            break
            except TimeoutError:
                pass  # it goes in the middle of whatever it was at

    async with many() as session:
        await asyncio.gather(*[visit(session) for _ in range(200)])
    wait_until(lambda: watched.status("one")["connected_clients"] == 0, "no stream is left")
    wait_until(lambda: watched.ask("Subscription.objects.count()") == 0, "no subscription is left")
    wait_until(lambda: relayed(watched) == 0, "no log is relayed")
    # A few connections to Daytona stay open for the next request; there were 800 visits.
    wait_until(lambda: len(descriptors(pid)) <= before + 10, f"no descriptor is left over; there were {before}")
    for sandbox_id, _ in places:
        await asyncio.to_thread(daytona.call, "DELETE", f"/api/sandbox/{sandbox_id}")
    assert not [line for line in watched.processes["one"].output if "Traceback" in line or "never retrieved" in line]
