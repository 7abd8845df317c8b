"""`make run`: its first words, its second start, its refusals, its end, and what it does when a child dies."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from live_client import HubClient, is_alive, is_ready, wait_for_new_child, wait_until_gone, whole_tree

from config.launcher import running
from tests.processes import ROOT, Process, RunningHub, free_port, running_hub, wait_until
from tests.streaming import open_stream

LAUNCHER = [sys.executable, "-m", "config.launcher"]
SECRETS = re.compile(r"password: \S+|API token: \w{20,}")


@pytest.fixture
def default_sigint() -> Iterator[None]:
    """A shell's background job ignores SIGINT, and children inherit that; a terminal's does not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def start_and_fail(hub_env: dict[str, str], within_s: float = 90.0) -> tuple[int, str]:
    process = Process(LAUNCHER, hub_env)
    try:
        return process.wait(within_s), "\n".join(process.output)
    finally:
        process.end()


def environment(data_dir: Path, port: str | int, **more: str) -> dict[str, str]:
    unset = {"DJANGO_SETTINGS_MODULE", "REDIS_URL", "DATABASE_URL", "DAYTONA_API_KEY", "SECRET_KEY"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    return kept | {"TASKHUB_PORT": str(port), "TASKHUB_DATA_DIR": str(data_dir), **more}


def is_unlocked(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def start_sleeping_execution(client: HubClient) -> str:
    task_id = client.create_task()
    client.execute(task_id, "sleep 3600 & setsid sleep 3601 & sleep 3602")
    client.wait_for_step(task_id, "started")
    return task_id


def signal_ends_everything(hub: RunningHub, number: signal.Signals) -> None:
    with open_stream(f"{hub.address}/api/events/stream") as frames:
        assert next(frames).json()["event"] == "connected"
        pids = whole_tree(hub)
        assert len(pids) >= 10  # launcher, five children, and the sandbox's shells
        hub.process.signal(number)
        assert json.loads([frame.data for frame in frames if frame.data][-1])["event"] == "disconnected"
    assert hub.process.wait(60) == 0
    wait_until_gone(pids, hub)
    assert not (hub.data_dir / "redis.sock").exists()
    assert is_unlocked(hub.data_dir)


def test_first_start_tells_the_secrets_once_and_second_start_finds_the_data(tmp_path: Path) -> None:
    """In a folder with an odd name."""
    data_dir = tmp_path / "new" / "with blanks é, a#b?c%20d"
    with running_hub(data_dir) as first:
        said = "\n".join(first.process.output)
        assert len(re.findall(r"Operator account: operator, password: \S+", said)) == 1
        assert said.count(first.token) == 1
        assert (data_dir / "token").stat().st_mode & 0o777 == 0o600
        assert data_dir.stat().st_mode & 0o777 == 0o700
        assert f"http://localhost:{first.port}" in said
        task_id = HubClient(first).create_task("kept over the restart")
        left = start_sleeping_execution(HubClient(first))
        signal_ends_everything(first, signal.SIGTERM)
    with running_hub(data_dir) as second:
        said = "\n".join(second.process.output)
        assert not SECRETS.search(said)
        assert second.token not in said
        client = HubClient(second)
        assert client.http.get(f"/api/tasks/{task_id}").json()["title"] == "kept over the restart"
        # What ran when everything stopped is not forgotten either.
        assert client.wait_for_end(left)["execution_event"] in {"failed", "lost"}
        assert client.run("echo goes on")[1]["execution_event"] == "completed"
        assert [each.name for each in data_dir.parent.iterdir()] == [data_dir.name]


def test_taken_port_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = start_and_fail(environment(tmp_path, port))
    assert code == 1
    assert said == f"TaskHub cannot start: port {port} is taken; stop what uses it, or set TASKHUB_PORT."


def test_second_launcher_on_the_same_data_is_refused(hub: RunningHub) -> None:
    code, said = start_and_fail(environment(hub.data_dir, free_port()))
    assert code == 1
    assert said.startswith("TaskHub cannot start: another TaskHub is running on ")
    assert "\n" not in said
    assert is_ready(hub)


@pytest.mark.parametrize("port", ["", "0", "65536", "-1", "http", "80 80", "²"])
def test_wrong_port_is_one_sentence(tmp_path: Path, port: str) -> None:
    code, said = start_and_fail(environment(tmp_path, port))
    assert code == 1
    assert said == f"TaskHub cannot start: TASKHUB_PORT must be a port number, not {port!r}."


def test_data_folder_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    code, said = start_and_fail(environment(tmp_path / "data", free_port()))
    assert code == 1
    assert said.startswith("TaskHub cannot start: ")
    assert "Traceback" not in said


def test_interrupt_ends_everything(tmp_path: Path, default_sigint: None) -> None:
    with running_hub(tmp_path) as hub:
        start_sleeping_execution(HubClient(hub))
        signal_ends_everything(hub, signal.SIGINT)


def test_signal_during_the_start_ends_everything(tmp_path: Path) -> None:
    hub = RunningHub(tmp_path)
    try:
        hub.process.wait_for_line("API token")
        pids = whole_tree(hub)
        hub.process.signal(signal.SIGTERM)
        assert hub.process.wait(60) == 0
        wait_until_gone(pids, hub)
        assert "Traceback" not in "\n".join(hub.process.output)
    finally:
        hub.process.end()


def test_killed_launcher_leaves_no_process_and_a_record_that_does_not_count(tmp_path: Path) -> None:
    with running_hub(tmp_path) as hub:
        named = ROOT / ".running" / str(hub.process.pid)
        start_sleeping_execution(HubClient(hub))
        pids = whole_tree(hub)
        hub.process.signal(signal.SIGKILL)
        hub.process.popen.wait(60)
        wait_until_gone(pids, hub)
        assert is_unlocked(tmp_path)
        hub.process.end()
        assert (tmp_path / "hub.json").exists()
        stop = [*LAUNCHER, "stop"]
        said = subprocess.run(stop, env=environment(tmp_path, 0), cwd=ROOT, capture_output=True, text=True, check=True)
        assert said.stdout == f"No TaskHub runs on {tmp_path}.\n"
        hub.start()
        hub.wait_ready()
        assert json.loads((tmp_path / "hub.json").read_text())["pid"] == hub.process.pid
        assert tmp_path in running._running_elsewhere()
        assert not named.exists()


@pytest.mark.parametrize("words", ["uvicorn", "worker", "redis.sock", "sandboxes.local"])
def test_killed_child_is_started_again(fragile_hub: RunningHub, fragile_client: HubClient, words: str) -> None:
    pid = fragile_hub.child_pid(words)
    os.kill(pid, signal.SIGKILL)
    wait_for_new_child(fragile_hub, words, pid)
    wait_until(lambda: is_ready(fragile_hub), f"the service is ready after the death of {words}")
    task_id, end = fragile_client.run("echo still working")
    assert end["execution_event"] == "completed"
    assert fragile_client.log_lines(task_id) == ["still working"]


def test_child_that_keeps_dying_ends_everything_with_its_last_lines(tmp_path: Path) -> None:
    (tmp_path / "sandboxes").write_text("a file where the sandbox server wants its folder")
    hub = RunningHub(tmp_path)
    try:
        hub.process.wait_for_line("starting it again")
        pids = whole_tree(hub)
        assert hub.process.wait(40) == 1
        said = "\n".join(hub.process.output)
        assert "TaskHub stops: sandboxes keeps ending (exit code 2); its last lines:" in said
        assert said.partition("its last lines:")[2].lstrip().startswith("sandboxes.local: ")
        wait_until_gone(pids, hub)
    finally:
        hub.process.end()


def test_redis_that_keeps_dying_ends_everything_with_its_last_lines(tmp_path: Path) -> None:
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for name in ("valkey-server", "redis-server"):
        (binaries / name).write_text("#!/bin/sh\necho the wrong kind of server\nexit 3\n")
        (binaries / name).chmod(0o755)
    path = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    code, said = start_and_fail(environment(tmp_path / "data", free_port(), PATH=path), within_s=90)
    assert code == 1
    assert "redis keeps ending (exit code 3); its last lines:" in said
    assert "the wrong kind of server" in said


def test_restarted_web_process_refuses_nobody_while_it_is_away(fragile_hub: RunningHub) -> None:
    """The launcher holds the listening socket: a request that comes in between waits."""
    pid = fragile_hub.child_pid("uvicorn")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), "the end of the web process")
    answer = httpx.get(f"{fragile_hub.address}/healthz", timeout=90, trust_env=False)
    assert answer.status_code == 200
