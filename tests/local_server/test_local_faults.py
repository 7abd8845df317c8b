"""Faults on demand, and counts of requests."""

import asyncio
import time
import warnings

import aiohttp
import pytest
from local_server_harness import Raw, Server, daytona_client, made

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from daytona import DaytonaError, DaytonaRateLimitError, SessionExecuteRequest


@pytest.fixture
async def faulty(faulty_server: Server, http) -> Raw:
    raw = Raw(faulty_server, http)
    yield raw
    assert (await raw.call("DELETE", "/faults"))[0] == 204


@pytest.fixture
async def faulty_sandbox(faulty: Raw):
    async with daytona_client(faulty.server) as client, made(client) as sandbox:
        await sandbox.process.create_session("s")
        yield sandbox
        await faulty.call("DELETE", "/faults")


async def test_a_status_with_headers_so_many_times(faulty: Raw, faulty_sandbox):
    fault = {
        "match": "GET /toolbox/.*/process/session$",
        "status": 429,
        "headers": {"Retry-After-authenticated": "7"},
        "body": {"message": "Rate limit exceeded"},
        "times": 2,
    }
    assert (await faulty.call("POST", "/faults", body=fault))[0] == 201
    for _ in range(2):
        with pytest.raises(DaytonaRateLimitError, match="Rate limit exceeded") as limited:
            await faulty_sandbox.process.list_sessions()
        assert limited.value.headers["Retry-After-authenticated"] == "7"
    assert [each.session_id for each in await faulty_sandbox.process.list_sessions()] == ["s"]


async def test_a_hang(faulty: Raw, faulty_sandbox):
    await faulty.call("POST", "/faults", body={"match": "GET /api/sandbox/", "hang_s": 60})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(faulty.call("GET", f"/api/sandbox/{faulty_sandbox.id}"), 0.3)
    await faulty.call("DELETE", "/faults")
    await faulty.call("POST", "/faults", body={"match": "GET /api/sandbox/", "hang_s": 0.2})
    started = time.monotonic()
    assert (await faulty.call("GET", f"/api/sandbox/{faulty_sandbox.id}"))[0] == 200
    assert time.monotonic() - started >= 0.2


@pytest.mark.parametrize("code", [1001, 1006, 1011])
@pytest.mark.parametrize("after", [0, 5, 5000])
async def test_a_stream_cut_in_the_middle(faulty: Raw, faulty_sandbox, code, after):
    request = SessionExecuteRequest(command="seq 5000")
    answer = await faulty_sandbox.process.execute_session_command("s", request)
    fault = {"match": "/logs.follow=true", "ws_close_code": code, "after_bytes": after, "times": 1}
    await faulty.call("POST", "/faults", body=fault)
    async with faulty.follow(faulty_sandbox.id, "s", answer.cmd_id) as websocket:
        seen = b"".join([message.data async for message in websocket])
        assert websocket.close_code == code
    assert seen == answer.output.encode()[:after]
    await faulty.call("POST", "/faults", body=fault)
    with pytest.raises(DaytonaError, match=f"close code {code}"):
        await faulty_sandbox.process.get_session_command_logs_async("s", answer.cmd_id, lambda _: None, lambda _: None)
    async with faulty.follow(faulty_sandbox.id, "s", answer.cmd_id) as websocket:
        message = await websocket.receive(timeout=60)
        assert message.type is aiohttp.WSMsgType.BINARY


async def test_a_stream_that_ends_in_order_but_too_early(faulty: Raw, faulty_sandbox):
    answer = await faulty_sandbox.process.execute_session_command("s", SessionExecuteRequest(command="seq 5000"))
    fault = {"match": "/logs.follow=true", "ws_close_code": 1000, "after_bytes": 5000, "times": 1}
    await faulty.call("POST", "/faults", body=fault)
    async with faulty.follow(faulty_sandbox.id, "s", answer.cmd_id) as websocket:
        seen = b"".join([message.data async for message in websocket])
        assert websocket.close_code == 1000
    assert seen == answer.output.encode()[:5000]


async def test_a_snapshot_without_its_last_lines(faulty: Raw, faulty_sandbox):
    request = SessionExecuteRequest(command="seq 5")
    answer = await faulty_sandbox.process.execute_session_command("s", request)
    for lines, left in ((2, "1\n2\n3\n"), (9, "")):
        await faulty.call("POST", "/faults", body={"match": "/logs", "snapshot_drop_lines": lines, "times": 1})
        assert (await faulty_sandbox.process.get_session_command_logs("s", answer.cmd_id)).stdout == left
    assert (await faulty_sandbox.process.get_session_command_logs("s", answer.cmd_id)).stdout == "1\n2\n3\n4\n5\n"


async def test_requests_are_counted_by_method_and_route(faulty: Raw, faulty_sandbox):
    async def seen() -> dict[str, int]:
        return (await faulty.call("GET", "/requests"))[1]

    before = await seen()
    for _ in range(3):
        await faulty_sandbox.process.get_session("s")
    await faulty.call("GET", "/no/such/route")
    after = await seen()
    route = "GET /toolbox/{sandboxId}/process/session/{sessionId}"
    assert after[route] - before.get(route, 0) == 3
    assert after["GET /no/such/route"] == 1
    assert "GET /requests" not in after


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        [],
        {"status": 500},
        {"match": "x"},
        {"match": "x", "status": 500, "hang_s": 1},
        {"match": "x", "ws_close_code": 1002},
        {"match": "x", "status": 500, "more": 1},
        {"match": "(", "status": 500},
    ],
)
async def test_a_bad_fault_is_400(faulty: Raw, body):
    assert (await faulty.call("POST", "/faults", body=body))[0] == 400


async def test_the_routes_need_the_key_and_exist_only_where_they_were_asked_for(faulty: Raw, raw: Raw):
    assert (await faulty.call("GET", "/requests", headers={"Authorization": "Bearer no"}))[0] == 401
    for method, path in (("POST", "/faults"), ("DELETE", "/faults"), ("GET", "/requests")):
        assert (await raw.call(method, path, body={}))[0] == 404
