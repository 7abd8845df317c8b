"""Starting supervised shells, and finding what a server that was killed left behind."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sandboxes.local import supervisor
from sandboxes.local.disk import read_text, remove_tree, write_atomically
from sandboxes.local.fork_server import ForkServer, Supervised
from sandboxes.local.isolation import Folders, bwrap_prefix, find_bash, find_program, shell_environment

# After the end of its server a supervisor kills its tree by itself; it is helped along only if it takes longer.
_LEFTOVER_DEADLINE_S = 2.0
_POLL_S = 0.02
_LONGEST_REPORT_BYTES = 4096
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Runs the commands on its standard input. As in Daytona's daemon that is over when no process holds the output any
# more, which `cat` notices. In bubblewrap the end of this shell would end all others, so it stays while there are any
# beside itself and process 1, which is bubblewrap's.
_ONCE = f"""
SHLVL=0 "$BASH" 2>&1 {supervisor.STATUS_FD}>&- | "$1" {supervisor.STATUS_FD}>&-
builtin printf 'once %s\\n' "${{PIPESTATUS[0]}}" >&{supervisor.STATUS_FD}
exec <&- >&- 2>&-
sleep=$2
while [ -n "$sleep" ] && set -- /proc/[0-9]* && [ $# -gt 2 ]; do "$sleep" 1; done
"""


class ShellFactory:
    """Starts shells in the way that was found possible at the server's start (with or without bubblewrap)."""

    def __init__(self, *, hidden: Sequence[Path], bwrap: str | None, closes_network: bool = False) -> None:
        self._hidden = hidden
        self._bwrap = bwrap
        self.closes_network = closes_network
        self._bash = find_bash()
        self._cat, self._sleep = find_program("cat"), find_program("sleep")
        self._forks = ForkServer()

    def close(self) -> None:
        """The server ends."""
        self._forks.close()

    @property
    def isolated(self) -> bool:
        """True if shells run in bubblewrap."""
        return self._bwrap is not None

    async def session(self, folders: Folders, env: dict[str, str]) -> "Shell":
        """A shell that reads one line after another. Raises OSError if no process can be made."""
        return await self._start(folders, env, [], cwd=folders.home, files=None)

    async def once(self, folders: Folders, env: dict[str, str], text: int, *, cwd: Path, output: int) -> "Shell":
        """A shell that runs the commands in the descriptor `text`; stdout and stderr go to the descriptor `output`.

        It reports "once <exit code>" when it has ended and no process holds its output. Raises OSError.
        """
        words = [_ONCE, "once", self._cat, self._sleep if self.isolated else ""]
        return await self._start(folders, env, ["-c", *words], cwd=cwd, files=(text, output))

    async def _start(
        self, folders: Folders, env: dict[str, str], arguments: list[str], *, cwd: Path, files: tuple[int, int] | None
    ) -> "Shell":
        if not folders.network and not self.closes_network:
            # A server that was started anew, without bubblewrap, has sandboxes of the one before it.
            raise PermissionError("the sandbox has no network, which needs bubblewrap")
        if folders.mounts and self._bwrap is None:
            raise PermissionError("the sandbox has volumes, which need bubblewrap")
        for mount in folders.mounts:
            mount.prepare()
        prefix = []
        if self._bwrap is not None:
            prefix = bwrap_prefix(self._bwrap, self._hidden, folders, cwd=cwd)
        shell = Shell(await self._forks.fork(files or ()), folders)
        shell.begin(
            {
                "argv": [*prefix, self._bash, *arguments],
                "env": shell_environment(folders, env),
                # bubblewrap changes to the folder itself, inside: from here the path may lead anywhere by now.
                "cwd": "/" if self.isolated else str(cwd),
                "cpus": list(folders.bounds.cpus),
                "group": folders.bounds.group,
            }
        )
        return shell


class Shell:
    """One supervised shell, seen from the server."""

    def __init__(self, process: Supervised, folders: Folders) -> None:
        self._process = process
        self._record = folders.supervisors / str(process.pid)
        # Without a record, on a full disk, a restarted server still finds the tree by its HOME.
        with suppress(OSError):
            write_atomically(self._record, _identity(process.pid))

    def begin(self, spec: dict[str, Any]) -> None:
        self._send(spec)

    def run(self, line: str) -> None:
        """Hand the shell one line to read. Nothing happens if it has ended: the reports say so."""
        self._send({"run": f"{line}\n"})

    async def reports(self) -> AsyncIterator[list[str]]:
        """The supervisor's lines, split at blanks, until nothing of the tree is left.

        A script may write to the same descriptor: anything may come, and lines that are too long are dropped.
        """
        rest = b""
        while data := await self._process.stdout.read(_LONGEST_REPORT_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield line[:_LONGEST_REPORT_BYTES].decode(errors="replace").split()
            rest = rest[:_LONGEST_REPORT_BYTES]

    async def end(self, grace_s: float) -> None:
        """End the whole tree; returns when it is gone."""
        self._send({"end": grace_s})
        await self.wait()

    async def wait(self) -> None:
        """Until nothing of the tree is left."""
        await self._process.wait()
        with suppress(OSError):
            self._record.unlink(missing_ok=True)

    def _send(self, message: dict[str, Any]) -> None:
        # A supervisor with nothing left to look after has gone; `wait` then returns at once.
        self._process.tell(json.dumps(message).encode() + b"\n")


def _identity(pid: int) -> str:
    return f"{supervisor.start_time(pid)} {_BOOT_ID.read_text().strip()}"


async def end_leftovers(folders: Folders) -> None:
    """End what a killed server left running of one sandbox.

    1. Supervisors on record, known by pid, start time and boot, are given a moment to end their trees, then killed.
    2. Then whatever still has this sandbox's HOME in its environment is killed. Processes are held by a descriptor
       between look and kill, so that a pid that changes hands in between is not hit.
    """
    for record in list(folders.supervisors.iterdir()):
        if record.name.isdecimal():
            with suppress(OSError, ValueError):
                await _end_supervisor(int(record.name), read_text(record))
        _discard(record)
    await asyncio.to_thread(sweep, folders)


def _discard(record: Path) -> None:
    try:
        record.unlink()
    except IsADirectoryError:
        # Put there by a script that is not kept in bubblewrap.
        remove_tree(record)


async def _end_supervisor(pid: int, identity: str) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_LEFTOVER_DEADLINE_S):
            while _identity(pid) == identity:  # noqa: ASYNC110  another process's end raises no event here
                await asyncio.sleep(_POLL_S)
            return
    for victim in [*supervisor.descendants(pid), pid]:
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)


def sweep(folders: Folders) -> int:
    """Kill every process whose HOME is this sandbox's home. Returns how many there were."""
    wanted = f"HOME={folders.home}".encode()
    return sum(_kill_if_home(int(name), wanted) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208  names only


def _kill_if_home(pid: int, wanted: bytes) -> bool:
    if pid == os.getpid():
        return False
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        # It has ended since the listing, or it is a thread.
        return False
    try:
        if wanted not in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except OSError:
        # It has ended in between, or belongs to another user.
        return False
    finally:
        os.close(descriptor)
    return True
