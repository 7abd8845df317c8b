"""The parent of one shell: it keeps the shell's whole process tree together, and ends it with the server.

`fork_server.py` runs this file on its own (`python -I -S supervisor.py`), so it imports the standard library only; each
supervisor is a fork of that process (`serve_forks`).

It makes itself a "child subreaper": whatever the shell starts stays below it, also a process that called setsid and
whose parent is gone. So killing everything below this process is killing the session, and nothing else.

Standard input, from the server, one JSON object a line:
    1. {"argv", "env", "cwd", "cpus", "group"}: what to start, on which CPUs (none: all), in which cgroup ("": ours).
        With two descriptors that came with the fork, these are its stdin, and its
       stdout and stderr; without, it is a session, whose shell reads the lines of 2.
    2. {"run": line}: a line for the shell to read.
    3. {"end": seconds}: SIGTERM to the tree, then SIGKILL after so many seconds, then exit.
    End of file: the server is gone. SIGKILL to the tree, at once.
Standard output, to the server, one line each:
    "started <pid>", "shell <exit code>", and what the shell itself writes to descriptor STATUS_FD.
"""

import ctypes
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

# High, so that it meets no descriptor that people use in their scripts (`exec 9>lock`), nor bash's own (10, 63, 255).
STATUS_FD = 198

FORKS = "forks"
"""The argument of the process that forks supervisors."""

_DESCRIPTORS_MOST = 8
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_GIB = 1 << 30
_STDERR = 2
# How long a process may take to vanish after SIGKILL. One in uninterruptible sleep can take for ever: it is left then.
_KILL_DEADLINE_S = 5.0


def prctl(option: int, argument: int) -> None:
    """Raise OSError when the kernel says no."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, argument, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _stat_fields(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat after the command's name, or None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123  pathlib costs 10 ms of start-up
            # The name stands in parentheses and may itself hold spaces and parentheses.
            return file.read().rpartition(")")[2].split()
    except OSError:
        return None


def start_time(pid: int) -> int | None:
    """When the process was started, in clock ticks since boot: with the pid it identifies it. None: no such process."""
    fields = _stat_fields(pid)
    if fields is None or fields[0] == "Z":
        return None
    return int(fields[19])


def descendants(root: int) -> list[int]:
    """Every process below `root`, without `root` itself."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208  pathlib costs 10 ms of start-up
        fields = _stat_fields(int(name)) if name.isdigit() else None
        if fields is not None:
            children.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _signal_all(root: int, number: int) -> None:
    for pid in descendants(root):
        # It may have ended since the list was made.
        with suppress(ProcessLookupError):
            os.kill(pid, number)


class Supervisor:
    """One shell and everything below it."""

    def __init__(self, files: Sequence[int]) -> None:
        self._files = files
        self._received = b""
        self._shell = 0
        self._shell_stdin: int | None = None
        self._wake, wake_write = os.pipe()
        for descriptor in (self._wake, wake_write):
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write)

    def run(self) -> None:
        """1. Start the shell. 2. Obey the server and reap. 3. Leave when nothing is left to look after."""
        prctl(_PR_SET_CHILD_SUBREAPER, 1)
        while self._serve_once():
            pass

    def _serve_once(self) -> bool:
        readable, _, _ = select.select([0, self._wake], [], [])
        if self._wake in readable:
            os.read(self._wake, 4096)
            if self._reap():
                return False
        if 0 in readable:
            data = os.read(0, 65536)
            if not data:
                self._end(0.0)
                return False
            self._received += data
            return all(self._obey(message) for message in self._messages())
        return True

    def _messages(self) -> Iterator[dict[str, Any]]:
        while b"\n" in self._received:
            line, _, self._received = self._received.partition(b"\n")
            yield json.loads(line)

    def _obey(self, message: dict[str, Any]) -> bool:
        if "run" in message:
            if self._shell_stdin is not None:
                # The shell may have ended a moment ago; its end is reported by the reaping.
                with suppress(BrokenPipeError):
                    os.write(self._shell_stdin, message["run"].encode())
            return True
        if "end" in message:
            self._end(float(message["end"]))
            return False
        self._start(message)
        return True

    def _start(self, spec: dict[str, Any]) -> None:
        ours, shells = -1, -1
        if not self._files:
            shells, ours = os.pipe()
            self._shell_stdin = ours
        parent = os.getpid()
        self._shell = os.fork()
        if self._shell == 0:
            try:
                _become_shell(spec, stdin=shells, files=self._files, parent=parent)
            except OSError as error:
                os.write(_STDERR, f"the shell could not be started: {error}\n".encode())
            os._exit(127)
        if shells >= 0:
            os.close(shells)
        for descriptor in self._files:
            os.close(descriptor)
        _report(f"started {self._shell}")

    def _reap(self) -> bool:
        """Collect the dead. True when nothing is left below this process."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self._shell:
                code = os.waitstatus_to_exitcode(status)
                _report(f"shell {code if code >= 0 else 128 - code}")

    def _end(self, grace_s: float) -> None:
        """SIGTERM, a while, SIGKILL. Repeated, since a process can fork while the list of the tree is being made."""
        if grace_s > 0:
            _signal_all(os.getpid(), signal.SIGTERM)
            # A stopped process acts on a signal only when it is continued.
            _signal_all(os.getpid(), signal.SIGCONT)
            if self._gone_within(grace_s):
                return
        deadline = time.monotonic() + _KILL_DEADLINE_S
        while time.monotonic() < deadline:
            _signal_all(os.getpid(), signal.SIGKILL)
            if self._gone_within(0.05):
                return

    def _gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not self._reap():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if select.select([self._wake], [], [], left)[0]:
                os.read(self._wake, 4096)
        return True


def _report(line: str) -> None:
    # A server that is gone reads no reports; its end is noticed on standard input.
    with suppress(BrokenPipeError):
        os.write(1, f"{line}\n".encode())


def _become_shell(spec: dict[str, Any], *, stdin: int, files: Sequence[int], parent: int) -> None:
    """In the child: its own session, limits, descriptors, environment. Returns only by raising OSError."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # The parent died before the line above could see it.
        os._exit(127)
    _set_limits()
    _join(spec)
    os.chdir(spec["cwd"])
    os.dup2(1, STATUS_FD)
    source, output = files or (stdin, os.open(os.devnull, os.O_WRONLY))
    os.dup2(source, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for descriptor in files:
        os.close(descriptor)
    os.execve(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606  this is what the process is for


def _join(spec: dict[str, Any]) -> None:
    """The sizes of its sandbox: all that it starts has them, too. Raises OSError."""
    if spec.get("cpus"):
        os.sched_setaffinity(0, spec["cpus"])
    if spec.get("group"):
        with open(spec["group"], "w", encoding="ascii") as file:  # noqa: PTH123  pathlib costs 10 ms of start-up
            file.write(str(os.getpid()))


def _set_limits() -> None:
    """No core files, at most 1 GiB a file, 4,096 descriptors. No RLIMIT_NPROC: it counts all processes of the user."""
    for limit, wanted in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, _GIB),
        (resource.RLIMIT_NOFILE, 4096),
    ):
        _, hard = resource.getrlimit(limit)
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(limit, (allowed, allowed))


def serve_forks(server: socket.socket) -> None:
    """Fork a supervisor for each message of the server, until there is no server any more.

    With the message come the descriptors of the supervisor: its stdin, its stdout, and the files of its shell, if any.
    The answer is its pid, or an error's negative number.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps them
    while True:
        message, descriptors, _, _ = socket.recv_fds(server, 16, _DESCRIPTORS_MOST)
        if not message:
            return
        try:
            pid = os.fork()
        except OSError as error:
            pid = -error.errno if error.errno else -1
        if pid == 0:
            _supervise(descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        server.send(str(pid).encode())


def _supervise(descriptors: Sequence[int]) -> None:
    """In the fork. Does not return."""
    status = 1
    try:
        os.setsid()
        stdin, stdout, *files = descriptors
        os.dup2(stdin, 0)  # in the place of the socket to the server
        os.dup2(stdout, 1)
        os.close(stdin)
        os.close(stdout)
        Supervisor(files).run()
        status = 0
    finally:
        os._exit(status)


if __name__ == "__main__" and sys.argv[1:] == [FORKS]:
    # Ctrl-C in the server's terminal goes to the server, which ends its supervisors in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    serve_forks(socket.socket(fileno=0))
