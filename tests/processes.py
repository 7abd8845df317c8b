"""Real processes for tests: started, waited for by what they say or answer, and surely ended."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import redis

ROOT = Path(__file__).resolve().parents[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str, within_s: float = 90.0) -> None:
    """Asks until it holds; for facts of other processes that announce nothing.

    A server that starts on a loaded machine may take 40 s.
    """
    until = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"{what}: not within {within_s} s")
        time.sleep(0.02)


def alive(word: str) -> list[str]:
    """Command lines of this machine that hold the word; namespaces of processes do not hide any from outside."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in line and "pytest" not in line:
            found.append(line)
    return found


def wait_for_redis(url: str) -> None:
    with redis.Redis.from_url(url) as client:

        def answers() -> bool:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

        wait_until(answers, "Redis answers")


class Reaper:
    """The process of `tests/reaper.py`, started when it is first needed; see there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of = 0
        self._pipe = -1

    def tell(self, what: str, value: object) -> None:
        with self._lock:
            if self._of != os.getpid():  # a fork has its own
                self._start()
            os.write(self._pipe, f"{what} {value}\n".encode())

    def _start(self) -> None:
        # By hand: a Popen would warn that it is still running, and it must outlive this process.
        out, self._pipe = os.pipe()
        self._of = os.getpid()
        command = [sys.executable, "-I", "-S", str(Path(__file__).with_name("reaper.py"))]
        files = [
            (os.POSIX_SPAWN_DUP2, out, 0),
            # It outlives a killed run: no reader may wait for the end of its output.
            *((os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)),
        ]
        os.posix_spawn(sys.executable, command, {}, file_actions=files, setsid=True)
        os.close(out)


reaper = Reaper()


class Process:
    """A child whose output is read line by line as it comes."""

    def __init__(self, command: list[str], env: Mapping[str, str], *, cwd: Path = ROOT) -> None:
        self.popen = subprocess.Popen(
            command,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        reaper.tell("process", self.popen.pid)
        self.output: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.output.append(line.rstrip())
            self._lines.put(line.rstrip())
        self._lines.put(None)

    @property
    def pid(self) -> int:
        return self.popen.pid

    def wait_for_line(self, text: str, within_s: float = 150.0) -> str:
        """The next line that holds `text`."""
        until = time.monotonic() + within_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {text!r} within {within_s} s:\n" + "\n".join(self.output)) from None
            if line is None:
                raise AssertionError(f"ended before {text!r}:\n" + "\n".join(self.output))
            if text in line:
                return line

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """It is there, and does nothing."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def wait(self, within_s: float = 90.0) -> int:
        code = self.popen.wait(within_s)
        self._reader.join(5)
        return code

    def end(self) -> None:
        """However it stands: SIGTERM, then SIGKILL to its session."""
        if self.popen.poll() is None:
            self.popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(10)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait(60)
        reaper.tell("gone", self.popen.pid)
        if self.popen.stdout is not None:
            self._reader.join(5)
            self.popen.stdout.close()


def descendants(pid: int) -> dict[int, str]:
    """Every process below `pid`, with its command line."""
    parents: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            stat = (entry / "stat").read_text()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parents[int(entry.name)] = (int(stat.rpartition(")")[2].split()[1]), command)
    found: dict[int, str] = {}
    grown = {pid}
    while grown:
        grown = {child for child, (parent, _) in parents.items() if parent in grown and child not in found}
        found |= {child: parents[child][1] for child in grown}
    return found


class RunningHub:
    """`make run`'s launcher on a free port and a data folder of its own."""

    def __init__(self, data_dir: Path, env: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.address = f"http://localhost:{self.port}"
        unset = {"DJANGO_SETTINGS_MODULE", "REDIS_URL", "DATABASE_URL", "DAYTONA_API_KEY", "SECRET_KEY"}
        self.env = {name: value for name, value in os.environ.items() if name not in unset} | {
            "TASKHUB_PORT": str(self.port),
            "TASKHUB_DATA_DIR": str(data_dir),
            **(env or {}),
        }
        self.start()

    def start(self) -> None:
        """Again, if it has ended: with the same port and data."""
        self.process = Process([sys.executable, "-m", "config.launcher"], self.env)

    def wait_ready(self) -> None:
        self.process.wait_for_line("TaskHub is ready", 300)

    @property
    def token(self) -> str:
        return (self.data_dir / "token").read_text().strip()

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def child_pid(self, words: str) -> int:
        """The child of the launcher whose command line holds `words`."""
        return next(pid for pid, line in descendants(self.process.pid).items() if words in line)


@contextlib.contextmanager
def running_hub(data_dir: Path, env: Mapping[str, str] | None = None) -> Iterator[RunningHub]:
    hub = RunningHub(data_dir, env)
    try:
        hub.wait_ready()
        yield hub
    finally:
        hub.process.end()
