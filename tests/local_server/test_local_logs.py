"""Logs: markers, frames, follow streams, and that what a command wrote is what its reader gets."""

import asyncio
import base64
import time
import warnings
from itertools import pairwise

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from local_server_harness import Raw, Server, daytona_client, eventually, made

from sandboxes.local.logs import STDERR_MARKER, STDOUT_MARKER, Demarker, Marker

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from daytona import DaytonaError, SessionExecuteRequest

LARGEST_FRAME = 1024


async def begin(sandbox, command: str, session: str = "s") -> str:
    request = SessionExecuteRequest(command=command, run_async=True)
    return (await sandbox.process.execute_session_command(session, request)).cmd_id


async def frames_of(raw: Raw, sandbox, command_id: str, **headers: str) -> tuple[list[bytes], int | None, list[float]]:
    """All frames, the close code, and when each message came; the last time is that of the close."""
    frames, times = [], []
    async with raw.follow(sandbox.id, "s", command_id, **headers) as websocket:
        async for message in websocket:
            assert message.type is aiohttp.WSMsgType.BINARY
            frames.append(message.data)
            times.append(time.monotonic())
        times.append(time.monotonic())
        return frames, websocket.close_code, times


async def streams_of(sandbox, command_id: str) -> tuple[str, str]:
    out: list[str] = []
    err: list[str] = []
    await sandbox.process.get_session_command_logs_async("s", command_id, out.append, err.append)
    return "".join(out), "".join(err)


async def test_a_stream_is_small_binary_frames_of_the_marked_log(sandbox, raw: Raw):
    await sandbox.process.create_session("s")
    command = await begin(sandbox, "seq 1 5000; seq 1 3 >&2")
    frames, code, _ = await frames_of(raw, sandbox, command)
    assert code == 1000
    assert max(map(len, frames)) == LARGEST_FRAME
    whole = b"".join(frames)
    assert whole.startswith(b"\x01\x01\x011\n\x01\x01\x012\n")
    # Some frame cuts a marker in two, which readers have to bear.
    assert any(first.endswith(b"\x01") and second.startswith(b"\x01") for first, second in pairwise(frames))
    assert await streams_of(sandbox, command) == ("".join(f"{n}\n" for n in range(1, 5001)), "1\n2\n3\n")
    logs = await sandbox.process.get_session_command_logs("s", command)
    assert logs.output.encode() == whole


async def test_a_stream_closes_about_a_second_after_the_end(sandbox, raw: Raw):
    await sandbox.process.create_session("s")
    command = await begin(sandbox, "echo x")
    _, code, times = await frames_of(raw, sandbox, command)
    assert code == 1000
    assert 0.9 < times[-1] - times[-2] < 2.5
    started = time.monotonic()
    frames, code, _ = await frames_of(raw, sandbox, command)
    assert (b"".join(frames), code) == (b"\x01\x01\x01x\n", 1000)
    assert 0.9 < time.monotonic() - started < 2.5


async def test_output_comes_line_by_line_as_it_is_written(sandbox, raw: Raw):
    await sandbox.process.create_session("s")
    command = await begin(sandbox, "echo first; printf part; read -r _; echo ial; read -r _; printf end")
    async with raw.follow(sandbox.id, "s", command) as websocket:
        assert (await websocket.receive(timeout=60)).data == b"\x01\x01\x01first\n"
        # "part" is held back until its line is complete.
        with pytest.raises(TimeoutError):
            await websocket.receive(timeout=0.3)
        await sandbox.process.send_session_command_input("s", command, "a")
        seen = b""
        while b"partial" not in seen:
            seen += (await websocket.receive(timeout=60)).data
        await sandbox.process.send_session_command_input("s", command, "b")
        async for message in websocket:
            seen += message.data
        # A last line without a newline gets one.
        assert seen.endswith(b"\x01\x01\x01end\n")
        assert websocket.close_code == 1000


async def test_many_followers_get_the_same_bytes(sandbox, raw: Raw):
    await sandbox.process.create_session("s")
    command = await begin(sandbox, "for i in {1..200}; do echo line $i; echo err $i >&2; done")
    results = await asyncio.gather(*(frames_of(raw, sandbox, command) for _ in range(30)))
    assert len({b"".join(frames) for frames, _, _ in results}) == 1
    assert {code for _, code, _ in results} == {1000}


async def test_an_unknown_command_is_404_before_the_upgrade(sandbox, raw: Raw):
    await sandbox.process.create_session("s")
    for session, command in (("s", "nope"), ("nope", "nope")):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await raw.follow(sandbox.id, session, command)
        assert refused.value.status == 404
    with pytest.raises(DaytonaError) as refused_by_sdk:
        await streams_of(sandbox, "nope")
    assert refused_by_sdk.value.__cause__.status == 404
    with pytest.raises(DaytonaError):
        await sandbox.process.get_entrypoint_logs_async(print, print)


async def test_deleting_the_session_closes_its_streams_at_once(sandbox, raw: Raw):
    await sandbox.process.create_session("s")
    command = await begin(sandbox, "trap '' TERM; echo up; while :; do sleep 600; done")
    async with raw.follow(sandbox.id, "s", command) as websocket:
        await websocket.receive(timeout=60)
        deleting = asyncio.create_task(sandbox.process.delete_session("s"))
        assert (await websocket.receive(timeout=0.8)).type is aiohttp.WSMsgType.CLOSE
        assert websocket.close_code == 1000
        await deleting


async def test_a_stop_of_the_sandbox_drops_its_streams(sandbox, raw: Raw):
    await sandbox.process.create_session("s")
    command = await begin(sandbox, "echo up; sleep 600")
    async with raw.follow(sandbox.id, "s", command) as websocket:
        await websocket.receive(timeout=60)
        await sandbox.stop()
        await websocket.receive(timeout=60)
        assert websocket.close_code == 1006


async def test_the_death_of_the_shell_closes_nothing(sandbox, raw: Raw):
    await sandbox.process.create_session("s")
    command = await begin(sandbox, "echo up; exit 5")
    async with raw.follow(sandbox.id, "s", command) as websocket:
        await websocket.receive(timeout=60)
        with pytest.raises(TimeoutError):
            await websocket.receive(timeout=1.4)


async def test_a_websocket_without_follow_sends_what_is_there_and_drops(sandbox, raw: Raw):
    await sandbox.process.create_session("s")
    request = SessionExecuteRequest(command="seq 1000")
    answer = await sandbox.process.execute_session_command("s", request)
    path = f"/toolbox/{sandbox.id}/process/session/s/command/{answer.cmd_id}/logs?follow=false"
    async with raw.session.ws_connect(raw.server.url + path, headers=raw.headers()) as websocket:
        seen = b"".join([message.data async for message in websocket])
        assert seen == answer.output.encode()
        assert websocket.close_code == 1006


async def test_clients_that_name_no_version_get_text(sandbox, raw: Raw):
    await sandbox.process.create_session("s")
    request = SessionExecuteRequest(command="echo out; sleep 0.1; echo err >&2")
    answer = await sandbox.process.execute_session_command("s", request)
    path = f"/toolbox/{sandbox.id}/process/session/s/command/{answer.cmd_id}/logs"
    old = {"X-Daytona-SDK-Version": "0.166.9"}
    status, body, headers = await raw.call("GET", path, headers=old)
    assert (status, body, headers["Content-Type"]) == (200, b"out\nerr\n", "text/plain; charset=utf-8")
    _, body, _ = await raw.call("GET", path, headers=old | {"X-Daytona-Split-Output": "true"})
    assert body == b"\x01\x01\x01out\n\x02\x02\x02err\n"
    frames, _, _ = await frames_of(raw, sandbox, answer.cmd_id, **old)
    assert b"".join(frames) == b"out\nerr\n"
    _, body, _ = await raw.call(
        "POST", f"/toolbox/{sandbox.id}/process/session/s/exec", body={"command": "echo x"}, headers=old
    )
    assert {key: body[key] for key in body if key != "cmdId"} == {"output": "x\n", "exitCode": 0}
    async with raw.session.ws_connect(
        f"{raw.server.url}{path}?follow=true",
        headers=raw.headers() | {"X-Daytona-SDK-Version": ""},
        protocols=["X-Daytona-SDK-Version~0.226.1"],
    ) as websocket:
        assert (await websocket.receive(timeout=60)).data.startswith(STDOUT_MARKER)


async def test_invalid_utf8_becomes_a_replacement_character_in_json(sandbox):
    await sandbox.process.create_session("s")
    request = SessionExecuteRequest(command=r"printf 'a\xffb\xc3\xa4\n'; printf 'c\0d\n'")
    answer = await sandbox.process.execute_session_command("s", request)
    # NUL bytes are lost, as in Daytona.
    assert answer.stdout == "a\ufffdbä\ncd\n"


def unmarked(data: bytes) -> bytes:
    """What a reader gets of a stream: no NUL bytes, and a newline at the end."""
    data = data.replace(b"\0", b"")
    return data if not data or data.endswith(b"\n") else data + b"\n"


# Runs of bytes, each repeated: so that long lines are short to describe.
runs = st.lists(
    st.tuples(
        st.one_of(st.binary(max_size=20), st.sampled_from([b"\n", b"\r", b"\x01", b"\x02", b"\0"])),
        st.sampled_from([1, 1, 1, 300]),
    ),
    max_size=10,
)


def written(pieces: list[tuple[bytes, int]]) -> bytes:
    """Three equal marker bytes are a marker everywhere: Daytona cannot carry them, so no client can."""
    data = b"".join(piece * times for piece, times in pieces)
    for byte in (b"\x01", b"\x02"):
        data = data.replace(byte + b"\0", byte)
        while byte * 2 in data.replace(b"\0", b""):
            data = data.replace(byte, b"", 1)
    return data


@settings(max_examples=60, deadline=None)
@given(out=runs, err=runs, cuts=st.lists(st.integers(1, 500), min_size=1, max_size=5))
def test_marking_and_splitting_lose_nothing(out: list, err: list, cuts: list[int]):
    out, err = written(out), written(err)
    log = bytearray()
    markers = {STDOUT_MARKER: (Marker(STDOUT_MARKER), out), STDERR_MARKER: (Marker(STDERR_MARKER), err)}
    for marker, data in markers.values():
        for start in range(0, len(data), cuts[0] * 100):
            log += marker.feed(data[start : start + cuts[0] * 100])
    for marker, _ in markers.values():
        log += marker.finish()
    demarker = Demarker()
    found = {STDOUT_MARKER: b"", STDERR_MARKER: b""}
    position = 0
    for number in range(len(log)):
        size = cuts[number % len(cuts)]
        for marker_bytes, payload in demarker.feed(bytes(log[position : position + size])):
            found[marker_bytes] += payload
        position += size
        if position >= len(log):
            break
    for marker_bytes, payload in demarker.finish():
        found[marker_bytes] += payload
    assert found == {STDOUT_MARKER: unmarked(out), STDERR_MARKER: unmarked(err)}


def test_a_line_longer_than_what_is_held_back_stays_one_line():
    marker = Marker(STDERR_MARKER)
    log = b"".join(marker.feed(b"y" * 65536) for _ in range(10)) + marker.feed(b"z\nnext") + marker.finish()
    text = b"".join(payload for _, payload in Demarker().feed(log))
    assert text == b"y" * 655_360 + b"z\nnext\n"


@pytest.fixture(scope="module")
def sandbox_for_contents(server: Server):
    """One sandbox with one session for all examples. Made and left on a loop of its own."""

    async def make() -> str:
        async with daytona_client(server) as client:
            created = made(client)
            sandbox = await created.__aenter__()
            await sandbox.process.create_session("s")
            return sandbox.id

    return asyncio.run(make())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(out=runs, err=runs)
def test_a_reader_gets_what_the_command_wrote(server: Server, sandbox_for_contents: str, out: list, err: list):
    out, err = written(out), written(err)

    async def check() -> None:
        async with daytona_client(server) as client, aiohttp.ClientSession() as http:
            sandbox = await client.get(sandbox_for_contents)
            await sandbox.fs.upload_file(out, "out")
            await sandbox.fs.upload_file(err, "err")
            answer = await sandbox.process.execute_session_command(
                "s", SessionExecuteRequest(command="cat out & cat err >&2; wait")
            )
            assert (answer.stdout, answer.stderr) == (
                unmarked(out).decode(errors="replace"),
                unmarked(err).decode(errors="replace"),
            )
            log = b""
            async with Raw(server, http).follow(sandbox.id, "s", answer.cmd_id) as websocket:
                while len(log) < len(unmarked(out)) + len(unmarked(err)):
                    log += (await websocket.receive(timeout=60)).data
            streams = {STDOUT_MARKER: b"", STDERR_MARKER: b""}
            for marker, payload in Demarker().feed(log + STDOUT_MARKER):
                streams[marker] += payload
            assert log.decode(errors="replace").startswith(answer.output[: len(log) // 4])

    asyncio.run(check())


async def test_a_command_that_prints_100_mb_leaves_the_memory_flat(server: Server, sandbox, raw: Raw):
    await sandbox.process.create_session("s")
    before = server.memory_kib()
    text = base64.b64encode(b"any line of text, seventy-six characters of it in the end").decode()
    command = await begin(sandbox, f"yes {text} | head -c 100000000")
    received = lines = 0
    async with raw.follow(sandbox.id, "s", command) as websocket:
        started = time.monotonic()
        async for message in websocket:
            received += len(message.data)
            lines += message.data.count(b"\n")
            last = time.monotonic()
        assert websocket.close_code == 1000
    assert received == 100_000_000 + 3 * lines + (0 if 100_000_000 % (len(text) + 1) == 0 else 1)
    assert lines / (last - started) > 50_000
    path = f"/toolbox/{sandbox.id}/process/session/s/command/{command}/logs"
    async with raw.session.get(raw.server.url + path, headers=raw.headers()) as response:
        size = sum([len(chunk) async for chunk in response.content.iter_chunked(1 << 20)])
    assert size > 2 * 100_000_000
    assert server.memory_kib("VmHWM") - before < 40 * 1024


async def test_a_log_that_is_deleted_while_it_is_read_ends_the_stream(sandbox, raw: Raw):
    await sandbox.process.create_session("s")
    command = await begin(sandbox, "yes | head -c 20000000; echo end")

    async def large() -> bool:
        commands = (await sandbox.process.get_session("s")).commands
        return commands[0].exit_code is not None

    await eventually(large)
    async with raw.follow(sandbox.id, "s", command) as websocket:
        await websocket.receive(timeout=60)
        await sandbox.process.delete_session("s")
        async for _ in websocket:
            pass
        # 1006: what was under way was too much to be read in the time of a goodbye.
        assert websocket.close_code in {1000, 1006}
