"""A full disk: the local server on a file system of 40 MiB of its own."""

import errno
import subprocess
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from local_server_harness import Server, daytona_client, eventually, made, running

from sandboxes.local import commands
from sandboxes.local.commands import Command
from sandboxes.local.disk import write_atomically

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from daytona import DaytonaInternalServerError, DaytonaNotFoundError, SessionExecuteRequest

# A mount name space of its own: needs no root, and the mount goes with the server.
NAMESPACE = ("unshare", "--map-root-user", "--mount")
LINES = 4000
LINE = "x" * 490


@cache
def can_mount() -> bool:
    try:
        return subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "none", "/tmp"], check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Server]:
    if not can_mount():
        pytest.skip("no user name spaces here")
    data = tmp_path / "data"
    script = 'mount -t tmpfs -o size=40m,nr_inodes=2000,mode=700 none "$0" && exec "$@"'
    with running(
        data,
        "--no-bwrap",
        "--kill-grace-s",
        "1",
        "--transition-ms",
        "5",
        prefix=(*NAMESPACE, "sh", "-c", script, str(data)),
    ) as server:
        yield server


async def fill(sandbox) -> None:
    """Until not even a state file fits."""
    result = await sandbox.process.exec("head -c 100000000 /dev/zero > fill; i=0; while : > $((i++)).full; do :; done")
    assert "No space left" in result.result


async def start(sandbox, command: str) -> str:
    request = SessionExecuteRequest(command=command, run_async=True)
    return (await sandbox.process.execute_session_command("s", request)).cmd_id


async def ended(sandbox, command: str) -> int:
    async def code() -> bool:
        return (await sandbox.process.get_session_command("s", command)).exit_code is not None

    await eventually(code, 60)
    return (await sandbox.process.get_session_command("s", command)).exit_code


async def test_output_waits_for_a_full_disk_and_loses_nothing(small: Server):
    async with daytona_client(small) as client, made(client) as sandbox:
        await sandbox.process.create_session("s")
        printing = f"for i in {{1..{LINES}}}; do echo $i {LINE}; echo e$i >&2; [ $i = 2 ] && read -r _; done; (exit 3)"
        command = await start(sandbox, printing)
        queued = await start(sandbox, "echo after")

        async def printed() -> bool:
            return "e2" in (await sandbox.process.get_session_command_logs("s", command)).stderr

        await eventually(printed, 60)
        await fill(sandbox)
        await sandbox.process.send_session_command_input("s", command, "go")
        await eventually(lambda: "has to wait" in small.stderr(), 60)
        # A full disk stops nothing else: commands run, files are read.
        assert (await sandbox.process.exec("echo on; head -c 3 fill | wc -c")).result.split() == ["on", "3"]
        assert (await sandbox.process.get_session_command("s", command)).exit_code is None
        await sandbox.process.exec("rm -f fill *.full")
        assert await ended(sandbox, command) == 3
        logs = await sandbox.process.get_session_command_logs("s", command)
        assert logs.stdout == "".join(
            f"{number} {LINE}\n" + ("go\n" if number == 2 else "") for number in range(1, LINES + 1)
        )
        assert logs.stderr == "".join(f"e{number}\n" for number in range(1, LINES + 1))
        assert await ended(sandbox, queued) == 0


async def test_an_exit_code_is_shown_when_it_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Not before: a server that dies in between would tell another one afterwards."""
    command = Command.create(tmp_path, text="true", number=1, echo=True, takes_input=True)
    tried: list[int | None] = []

    def full_twice(path: Path, text: str) -> None:
        tried.append(command.exit_code)
        if len(tried) < 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_atomically(path, text)

    monkeypatch.setattr(commands, "write_atomically", full_twice)
    monkeypatch.setattr(commands, "RETRY_S", 0.001)
    await command.conclude(4)
    assert tried == [None, None, None]
    assert command.exit_code == 4
    assert (tmp_path / command.id / "exit_code").read_text() == "4\n"


async def test_sandboxes_are_ended_on_a_full_disk_and_none_is_made(small: Server):
    async with daytona_client(small) as client, made(client) as sandbox:
        await sandbox.process.create_session("s")
        await start(sandbox, "yes")
        await eventually(lambda: "has to wait" in small.stderr(), 60)
        await fill(sandbox)
        with pytest.raises(DaytonaInternalServerError, match="No space left"):
            await client.create()
        assert [each.id async for each in client.list()] == [sandbox.id]
        with pytest.raises(DaytonaInternalServerError, match="No space left"):
            await start(sandbox, "true")
        await sandbox.process.delete_session("s")
        await fill(sandbox)
        await sandbox.stop()
        await sandbox.start()
        assert (await sandbox.process.exec("echo on")).result == "on\n"
        await sandbox.delete(wait=True)
        with pytest.raises(DaytonaNotFoundError):
            await client.get(sandbox.id)
        async with made(client) as another:
            assert (await another.process.exec("echo on")).result == "on\n"
