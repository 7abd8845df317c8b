"""How live tests speak to a hub: REST as the operator, and the events of one task from its first on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.processes import RunningHub, descendants, wait_until
from tests.streaming import Frame, open_stream, until

FINISHED = {"completed", "failed", "stopped", "timed_out", "lost"}


class HubClient:
    def __init__(self, hub: RunningHub) -> None:
        self.hub = hub
        self.address = hub.address
        # No connection is kept: nothing is left open when a hub, or a part of it, is killed.
        limits = httpx.Limits(max_keepalive_connections=0)
        self.http = httpx.Client(base_url=hub.address, headers=hub.headers, timeout=90, trust_env=False, limits=limits)

    def create_task(self, title: str = "a task", **fields: Any) -> str:
        answer = self.http.post("/api/tasks/", json={"title": title, **fields})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def set_status(self, task_id: str, new_status: str, **fields: Any) -> dict[str, Any]:
        answer = self.http.put(f"/api/tasks/status/{task_id}", json={"new_status": new_status, **fields})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def execute(self, task_id: str, script: str, **fields: Any) -> dict[str, Any]:
        answer = self.http.post(f"/api/exec/{task_id}", json={"script_content": script, **fields})
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def status(self, task_id: str) -> dict[str, Any]:
        answer = self.http.get(f"/api/exec/status/{task_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def log(self, task_id: str, tail: int = 10_000) -> list[dict[str, Any]]:
        answer = self.http.get(f"/api/exec/logs/{task_id}", params={"tail": tail})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["lines"])

    def log_lines(self, task_id: str, stream: str = "stdout") -> list[str]:
        return [line["line"] for line in self.log(task_id) if line["stream"] == stream]

    @contextmanager
    def events(self, *, timeout_s: float = 90.0, **query: str) -> Iterator[Iterator[Frame]]:
        """The event stream, live; with `lastEventId` what was before as well."""
        url = f"{self.address}/api/events/stream"
        with open_stream(url, params=query, timeout_s=timeout_s) as frames:
            yield frames

    def wait_for_step(self, task_id: str, *steps: str, within_s: float = 90.0) -> dict[str, Any]:
        """The data of the task's first execution event that is one of `steps`, whenever it came."""

        def reached(frame: Frame) -> bool:
            return bool(frame.data) and frame.json()["data"].get("execution_event") in steps

        # Below the keepalive's 30 s a silence ends the reading; above it each keepalive looks at the clock.
        with self.events(timeout_s=within_s, lastEventId="tasks:0", task_id=task_id) as frames:
            return dict(until(frames, reached, within_s=within_s)[-1].json()["data"])

    def wait_for_end(self, task_id: str, within_s: float = 90.0) -> dict[str, Any]:
        return self.wait_for_step(task_id, *FINISHED, within_s=within_s)

    def run(self, script: str, *, within_s: float = 90.0, **fields: Any) -> tuple[str, dict[str, Any]]:
        """A task of its own runs the script to its end: the task's id and the last event's data."""
        task_id = self.create_task()
        self.execute(task_id, script, **fields)
        return task_id, self.wait_for_end(task_id, within_s)


def envelopes(frames: list[Frame]) -> list[dict[str, Any]]:
    return [frame.json() for frame in frames if frame.data]


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that waits to be reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def mentioning(text: str) -> dict[int, str]:
    """Living processes that have `text` in their command line or environment, wherever in the tree they are."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            content = (entry / "cmdline").read_bytes() + b"\0" + (entry / "environ").read_bytes()
        except OSError:
            continue
        if text.encode() in content and is_alive(int(entry.name)):
            found[int(entry.name)] = content[:200].replace(b"\0", b" ").decode(errors="replace")
    return found


def whole_tree(hub: RunningHub) -> set[int]:
    """The launcher, all below it, and what has left the tree but still belongs to its data folder."""
    return {hub.process.pid, *descendants(hub.process.pid), *mentioning(str(hub.data_dir))}


def wait_until_gone(pids: set[int], hub: RunningHub, within_s: float = 60.0) -> None:
    def gone() -> bool:
        return not any(map(is_alive, pids)) and not mentioning(str(hub.data_dir))

    wait_until(gone, f"the end of all processes of {hub.data_dir}", within_s)


def is_ready(hub: RunningHub) -> bool:
    try:
        answer = httpx.get(f"{hub.address}/readyz", timeout=5, trust_env=False)
    except httpx.TransportError:
        return False
    return answer.status_code == 200 and answer.json()["status"] == "ok"


def wait_for_new_child(hub: RunningHub, words: str, old_pid: int, within_s: float = 60.0) -> int:
    """The child that took the place of `old_pid`."""
    found: list[int] = []

    def there() -> bool:
        found[:] = [pid for pid, line in descendants(hub.process.pid).items() if words in line and pid != old_pid]
        return bool(found)

    wait_until(there, f"another {words!r}", within_s)
    return found[0]


def peak_kib(pid: int) -> int:
    return _memory_kib(pid, "VmHWM")


def resident_kib(pid: int) -> int:
    return _memory_kib(pid, "VmRSS")


def _memory_kib(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0
