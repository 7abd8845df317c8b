"""Killed runs of the tests leave no process behind.

Each run is started by a process that adopts the orphans of all its descendants (a child subreaper), so that whatever
the run leaves is found below that process and nowhere else.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.launcher import redis_server
from tests.postgres import find_binaries
from tests.processes import Process, descendants, wait_until

ADOPTER = """
import ctypes, os, subprocess, sys
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
print("run", subprocess.Popen(sys.argv[1:]).pid, flush=True)
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
print("nothing is left", flush=True)
"""
EACH = [
    *(redis_server.find_binary().name, "config.launcher", "uvicorn", "celery", "sandboxes.local", "supervisor.py"),
    *("sleep 12345", "bin/postgres", "nginx"),
]
INSTALLED = find_binaries() is not None and shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class Run:
    def __init__(self, folder: Path, test: str, *options: str) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "pytest", f"tests/integration/run_to_be_killed.py::{test}", "-q", *options]
        own = {"TASKHUB_KILLED_RUN": str(folder), "TMPDIR": str(folder)}
        env = {
            name: value for name, value in os.environ.items() if not name.startswith(("TASKHUB_", "REDIS_", "PYTEST_"))
        }
        self.adopter = Process([sys.executable, "-c", ADOPTER, *command], env | own)
        self.pid = int(self.adopter.wait_for_line("run ").split()[1])
        wait_until(self._holds, "the run holds its servers", 400)

    def _holds(self) -> bool:
        assert self.adopter.popen.poll() is None, "\n".join(self.adopter.output)
        return (self.folder / "held").exists()

    def commands(self) -> dict[int, str]:
        return descendants(self.adopter.pid)

    def wait_for(self, *words: str) -> None:
        """Until a process with each of these in its command line is there."""

        def are_there() -> bool:
            commands = self.commands().values()
            return all(any(word in line for line in commands) for word in words)

        wait_until(are_there, f"{words} are there", 60)

    def left(self) -> list[str]:
        """What is still there when the reaper and the workers of xdist have had their time."""
        with contextlib.suppress(AssertionError):
            self.adopter.wait_for_line("nothing is left", 90)
        return list(self.commands().values())

    def files(self) -> set[str]:
        """Folders below the temporary one; pytest keeps its own for debugging."""
        return {path.name for path in self.folder.glob("taskhub-*")}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Open to nginx and PostgreSQL, which run as accounts of their own where the tests run as root."""
    with tempfile.TemporaryDirectory(prefix="killed-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@contextlib.contextmanager
def running(folder: Path, test: str, *options: str) -> Iterator[Run]:
    run = Run(folder, test, *options)
    try:
        yield run
    finally:
        for pid in run.commands():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        run.adopter.end()


@pytest.mark.skipif(not INSTALLED, reason="PostgreSQL or nginx is not installed")
def test_a_killed_run_leaves_nothing(folder: Path) -> None:
    with running(folder, "test_holds_one_of_each") as run:
        run.wait_for(*EACH)
        os.kill(run.pid, signal.SIGKILL)
        assert run.left() == []
        assert not (folder / "fixtures ended").exists()
        assert run.files() == set()


def test_a_run_that_is_told_to_end_runs_the_ends_of_its_fixtures(folder: Path) -> None:
    with running(folder, "test_holds_a_sandbox_server") as run:
        run.wait_for("sandboxes.local", "sleep 12345")
        os.kill(run.pid, signal.SIGTERM)
        assert run.left() == []
        assert (folder / "fixtures ended").exists()
        assert run.files() == set()


@pytest.mark.browser
def test_nor_does_one_with_a_browser(folder: Path) -> None:
    if shutil.which("chromium") is None:
        pytest.skip("Chromium is not installed")
    with running(folder, "test_holds_a_browser") as run:
        run.wait_for("chromium")
        os.kill(run.pid, signal.SIGKILL)
        assert run.left() == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nor_do_the_processes_among_which_a_run_is_divided(folder: Path, number: signal.Signals) -> None:
    with running(folder, "test_holds_a_sandbox_server", "-n", "1") as run:
        run.wait_for("sandboxes.local", "sleep 12345")
        os.kill(run.pid, number)
        assert run.left() == []
