"""Reaper: ends what a killed run of the tests has left behind.

`tests/processes.py` starts one per process that starts others, in a session of its own, and tells it over a pipe:

    process <pid>    was started, as the leader of a session
    gone <pid>       has ended, and has been waited for
    folder <path>    is to be removed at the end

The pipe's end means that the run is over, however it ended. Then each process that is left gets SIGTERM and 10 s to end
what it has started itself, its session gets SIGKILL, and the folders are removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

GRACE_S = 10.0


def start_time(pid: int) -> str:
    """Tells a process from a later one with the same number; empty if there is none, or if it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def end_all(started: dict[int, str]) -> None:
    """`started`: processes, each with its start time."""

    def alive() -> list[int]:
        return [pid for pid, since in started.items() if since and start_time(pid) == since]

    for pid in alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGCONT)  # a stopped process would not see it
    until = time.monotonic() + GRACE_S
    while alive() and time.monotonic() < until:
        time.sleep(0.05)
    for pid in (pid for pid, since in started.items() if start_time(pid) in {"", since}):
        # The whole session; its number is not given away while it has members.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def main() -> None:
    started: dict[int, str] = {}
    folders: list[str] = []
    for line in sys.stdin:
        what, _, value = line.rstrip("\n").partition(" ")
        if what == "process":
            started[int(value)] = start_time(int(value))
        elif what == "gone":
            started.pop(int(value), None)
        else:
            folders.append(value)
    end_all(started)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    main()
