"""The server's own end, orderly and not: what stays, what goes, and what is told about it."""

import asyncio
import os
import signal
import warnings
from pathlib import Path

import aiohttp
import pytest
from local_server_harness import KEY, Raw, Server, daytona_client, eventually, needs_bwrap, processes_with, running

from sandboxes.local.supervisor import FORKS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from daytona import (
        CreateSandboxFromSnapshotParams,
        DaytonaInternalServerError,
        SandboxState,
        SessionExecuteRequest,
    )

HOW = [pytest.param(("--no-bwrap",), id="plain"), pytest.param((), id="bwrap", marks=needs_bwrap)]


async def execute(sandbox, command: str, *, wait: bool = True, session: str = "s") -> str:
    request = SessionExecuteRequest(command=command, run_async=not wait)
    return (await sandbox.process.execute_session_command(session, request)).cmd_id


async def logged(sandbox, command: str, text: str) -> None:
    async def seen() -> bool:
        return text in (await sandbox.process.get_session_command_logs("s", command)).stdout

    await eventually(seen)


def record_supervisor(record: Path) -> None:
    """As the server records one, started at the first tick after boot: no process of ours was."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    record.write_text(f"1 {boot_id}")


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_everything_that_was_finished_survives_and_the_rest_is_concluded(tmp_path, how, number):
    with running(tmp_path / "data", *how) as server:
        async with daytona_client(server) as client:
            sandbox = await client.create(
                CreateSandboxFromSnapshotParams(name="kept", env_vars={"A": "1"}, labels={"l": "v"})
            )
            stopped = await client.create(CreateSandboxFromSnapshotParams(name="stopped"))
            await stopped.stop()
            await sandbox.fs.upload_file(b"data", "file")
            await sandbox.process.create_session("s")
            await sandbox.process.create_session("dead")
            done = await execute(sandbox, "echo out; echo err >&2; (exit 3)")
            gone = await execute(sandbox, "exit 5", wait=False, session="dead")
            mark = f"MARK_{sandbox.id.replace('-', '')}"
            cut = await execute(
                sandbox, f"export {mark}=1; setsid sleep 606 & echo line; printf part; sleep 607", wait=False
            )
            queued = await execute(sandbox, "echo never", wait=False)
            await logged(sandbox, cut, "line")
            # The death of a shell is noticed a moment after it.
            path = server.data_dir / sandbox.id / "sessions" / "dead" / "session.json"
            await eventually(lambda: '"alive": false' in path.read_text())
            port = server.port
        if number == signal.SIGKILL:
            server.kill()
        else:
            assert server.stop() < 10
            assert processes_with(str(server.data_dir)) == []
        server.start(port=port)
        assert processes_with(mark) == []
        async with daytona_client(server) as client:
            sandbox = await client.get("kept")
            assert (sandbox.state, sandbox.env, sandbox.labels["l"]) == (SandboxState.STARTED, {"A": "1"}, "v")
            assert (await client.get("stopped")).state == SandboxState.STOPPED
            assert await sandbox.fs.download_file("file") == b"data"
            commands = {each.id: each.exit_code for each in (await sandbox.process.get_session("s")).commands}
            assert commands == {done: 3, cut: 137, queued: 137}
            logs = await sandbox.process.get_session_command_logs("s", done)
            assert (logs.stdout, logs.stderr) == ("out\n", "err\n")
            logs = await sandbox.process.get_session_command_logs("s", cut)
            assert logs.stdout.startswith("line\n")
            assert "restarted" in logs.stderr.splitlines()[-1]
            # A command that ended its shell never gets an exit code, whatever happens later.
            assert (await sandbox.process.get_session_command("dead", gone)).exit_code is None
            with pytest.raises(DaytonaInternalServerError, match="broken pipe"):
                await execute(sandbox, "echo x")
            await sandbox.process.create_session("fresh")
            assert await execute(sandbox, "echo x", session="fresh")
            await sandbox.process.delete_session("s")
            await sandbox.delete(wait=True)


async def test_a_log_is_intact_when_the_server_is_killed_in_the_middle_of_it(tmp_path):
    with running(tmp_path / "data", "--no-bwrap") as server:
        async with daytona_client(server) as client:
            sandbox = await client.create(CreateSandboxFromSnapshotParams(name="busy"))
            await sandbox.process.create_session("s")
            command = await execute(sandbox, "i=0; while :; do echo line $((i++)); done", wait=False)
            await logged(sandbox, command, "line 2000\n")
        server.kill()
        server.start()
        async with daytona_client(server) as client:
            sandbox = await client.get("busy")
            logs = await sandbox.process.get_session_command_logs("s", command)
            lines = logs.stdout.splitlines()
            # The last one may be cut in the middle of its number.
            assert lines[:-1] == [f"line {number}" for number in range(len(lines) - 1)]
            assert len(lines) > 2000
            assert (await sandbox.process.get_session_command("s", command)).exit_code == 137


async def test_transitions_that_were_cut_short_are_finished(tmp_path):
    with running(tmp_path / "data", "--no-bwrap", "--transition-ms", "60000") as server:
        async with aiohttp.ClientSession() as http:
            raw = Raw(server, http)
            creating = [
                asyncio.create_task(raw.call("POST", "/api/sandbox", body={"name": name})) for name in ("up", "gone")
            ]

            async def both() -> bool:
                return len((await raw.call("GET", "/api/sandbox"))[1]["items"]) == 2

            await eventually(both)
            server.kill()
            for task in creating:
                with pytest.raises(aiohttp.ClientError):
                    await task
            server.start()
            assert (await raw.call("GET", "/api/sandbox/up"))[1]["state"] == "started"
            assert (await raw.call("DELETE", "/api/sandbox/gone"))[1]["state"] == "destroying"
            server.kill()
            server.options = ("--no-bwrap",)
            server.start()
            assert (await raw.call("GET", "/api/sandbox/gone"))[0] == 404
            assert sum(1 for _ in server.data_dir.glob("*/")) == 1


@pytest.mark.parametrize("how", HOW)
async def test_sigterm_leaves_no_process_and_closes_streams_with_1001(tmp_path, how):
    with running(tmp_path / "data", *how) as server:
        async with daytona_client(server) as client, aiohttp.ClientSession() as http:
            sandbox = await client.create(CreateSandboxFromSnapshotParams())
            await sandbox.process.create_session("s")
            command = await execute(
                sandbox,
                "trap '' TERM; setsid bash -c 'trap \"\" TERM; sleep 608; sleep 609' & echo up; sleep 610",
                wait=False,
            )
            async with Raw(server, http).follow(sandbox.id, "s", command) as websocket:
                await websocket.receive(timeout=60)
                waiting = asyncio.create_task(sandbox.process.exec("sleep 611"))
                await eventually(lambda: processes_with("sleep\x00611"))
                closing = asyncio.create_task(asyncio.to_thread(server.stop))
                await websocket.receive(timeout=60)
                assert websocket.close_code == 1001
                assert await closing < 10
            await asyncio.gather(waiting, return_exceptions=True)
        assert processes_with(str(server.data_dir)) == []


async def test_a_supervisor_that_was_killed_leaves_nothing_behind(tmp_path):
    with running(tmp_path / "data", "--no-bwrap") as server:
        async with daytona_client(server) as client:
            sandbox = await client.create(CreateSandboxFromSnapshotParams(name="orphaned"))
            await sandbox.process.create_session("s")
            mark = f"MARK_{sandbox.id.replace('-', '')}"
            await execute(sandbox, f"export {mark}=1; setsid sleep 612 >/dev/null 2>&1 &")
            records = server.data_dir / sandbox.id / "supervisors"
            for record in records.iterdir():
                os.kill(int(record.name), signal.SIGKILL)
            await eventually(lambda: not list(records.iterdir()))
            assert processes_with(mark)
        server.kill()
        server.start()
        assert processes_with(mark) == []


def fork_servers(server: Server) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended since
        if FORKS.encode() in words and parent == server.pid:
            found.append(int(path.name))
    return found


async def test_a_fork_server_that_was_killed_is_replaced_and_costs_no_session(tmp_path):
    with running(tmp_path / "data", "--no-bwrap") as server:
        async with daytona_client(server) as client:
            sandbox = await client.create(CreateSandboxFromSnapshotParams(name="forked"))
            await sandbox.process.create_session("s")
            await execute(sandbox, "mine=kept")
            (killed,) = fork_servers(server)
            os.kill(killed, signal.SIGKILL)
            await sandbox.process.create_session("t")
            assert (await sandbox.process.exec("echo $((1 + 1))")).result == "2\n"
            command = await execute(sandbox, "echo $mine")
            assert (await sandbox.process.get_session_command_logs("s", command)).stdout == "kept\n"
            (replaced,) = fork_servers(server)
            assert replaced != killed
        server.kill()
        await eventually(lambda: not Path(f"/proc/{replaced}").exists())


async def test_an_innocent_process_with_a_recorded_pid_is_left_alone(tmp_path):
    with running(tmp_path / "data", "--no-bwrap") as server:
        async with daytona_client(server) as client:
            sandbox = await client.create(CreateSandboxFromSnapshotParams(name="x"))
        server.kill()
        # As if the pid of a supervisor had been given to another process since.
        innocent = await asyncio.create_subprocess_exec("sleep", "613")
        record_supervisor(server.data_dir / sandbox.id / "supervisors" / str(innocent.pid))
        server.start()
        assert innocent.returncode is None
        innocent.kill()
        assert await innocent.wait() == -signal.SIGKILL


async def test_the_key_is_in_no_childs_environment(server: Server, sandbox):
    await sandbox.process.create_session("s")
    for pid in processes_with(str(server.data_dir / sandbox.id)):
        environment = environment_of(pid)
        assert KEY.encode() not in environment
        assert b"SECRET_OF_THE_SERVER" not in environment
