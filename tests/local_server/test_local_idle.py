"""Auto-stop, auto-delete and time to live, with minutes of six tenths of a second."""

import asyncio

import pytest
from local_server_harness import Raw, Server, eventually, running

SKIP = {"X-Daytona-Skip-Last-Activity-Update": "true"}


@pytest.fixture(scope="module")
def hasty_server(tmp_path_factory) -> Server:
    with running(tmp_path_factory.mktemp("hasty") / "data", "--no-bwrap", "--minute-s", "0.6") as server:
        yield server


@pytest.fixture
def hasty(hasty_server: Server, http) -> Raw:
    return Raw(hasty_server, http)


async def made(raw: Raw, **fields) -> str:
    fields.setdefault("autoStopInterval", 0)
    return (await raw.call("POST", "/api/sandbox", body=fields))[1]["id"]


async def state(raw: Raw, sandbox_id: str) -> str:
    status, row, _ = await raw.call("GET", f"/api/sandbox/{sandbox_id}")
    return row["state"] if status == 200 else "gone"


async def becomes(raw: Raw, sandbox_id: str, wanted: str) -> None:
    async def has_become() -> bool:
        return await state(raw, sandbox_id) == wanted

    await eventually(has_become)


async def test_an_idle_sandbox_stops_whoever_watches_with_the_header(hasty: Raw):
    sandbox_id = await made(hasty, autoStopInterval=1)

    async def stopped_under_watch() -> bool:
        status, _, _ = await hasty.call("GET", f"/toolbox/{sandbox_id}/process/session", headers=SKIP)
        return status == 400

    await eventually(stopped_under_watch)
    await becomes(hasty, sandbox_id, "stopped")


async def test_requests_and_open_streams_keep_it_awake(hasty: Raw):
    sandbox_id = await made(hasty, autoStopInterval=1)
    idle_id = await made(hasty, autoStopInterval=1)
    base = f"/toolbox/{sandbox_id}/process/session"
    await hasty.call("POST", base, body={"sessionId": "s"})
    while await state(hasty, idle_id) != "stopped":
        assert (await hasty.call("GET", base))[0] == 200
        await asyncio.sleep(0.01)
    _, answer, _ = await hasty.call("POST", f"{base}/s/exec", body={"command": "sleep 60", "runAsync": True})
    other_id = await made(hasty, autoStopInterval=1)
    async with hasty.follow(sandbox_id, "s", answer["cmdId"]):
        # Another sandbox goes through a whole interval meanwhile.
        await becomes(hasty, other_id, "stopped")
        assert await state(hasty, sandbox_id) == "started"
    await becomes(hasty, sandbox_id, "stopped")


async def test_zero_turns_auto_stop_off(hasty: Raw):
    never, soon = await made(hasty), await made(hasty, autoStopInterval=1)
    await becomes(hasty, soon, "stopped")
    assert await state(hasty, never) == "started"


async def test_a_stopped_sandbox_is_deleted_after_its_interval(hasty: Raw):
    later, never = await made(hasty, autoDeleteInterval=1), await made(hasty)
    for sandbox_id in (later, never):
        await hasty.call("POST", f"/api/sandbox/{sandbox_id}/stop")
    await becomes(hasty, later, "gone")
    assert await state(hasty, never) == "stopped"


async def test_an_ephemeral_sandbox_is_deleted_when_it_stops(hasty: Raw):
    sandbox_id = await made(hasty, autoDeleteInterval=0)
    await hasty.call("POST", f"/api/sandbox/{sandbox_id}/stop")
    await becomes(hasty, sandbox_id, "gone")


async def test_time_to_live(hasty: Raw):
    given, later = await made(hasty, ttlMinutes=1), await made(hasty)
    await hasty.call("POST", f"/api/sandbox/{later}/ttl/1")
    await becomes(hasty, given, "gone")
    await becomes(hasty, later, "gone")
