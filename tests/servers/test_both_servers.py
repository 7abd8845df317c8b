"""One and the same stream under uvicorn and under daphne (`runserver`)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from django.conf import settings

from tests.processes import ROOT, Process, free_port, wait_until
from tests.streaming import open_stream, until

COMMANDS = {
    "uvicorn": ["-m", "uvicorn", "config.asgi:application", "--no-access-log", "--timeout-graceful-shutdown", "5"],
    "daphne": ["manage.py", "runserver", "--noreload"],
}


class Served:
    def __init__(self, name: str, data_dir: Path) -> None:
        self.env = {
            **os.environ,
            "TASKHUB_DATA_DIR": str(data_dir),
            "REDIS_URL": settings.REDIS_URL,
            "DJANGO_SETTINGS_MODULE": "config.settings.local",
            "PYTHONUNBUFFERED": "1",
            "TASKHUB_WEB_THREADS": "2",  # so that a thread too many shows
        }
        self.manage("prepare")
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        where = ["--port", str(port)] if name == "uvicorn" else [f"127.0.0.1:{port}"]
        self.process = Process([sys.executable, *COMMANDS[name], *where], self.env)
        self.headers = {"Authorization": f"Bearer {(data_dir / 'token').read_text().strip()}"}
        wait_until(self._answers, f"{name} answers")

    def manage(self, *arguments: str) -> None:
        subprocess.run([sys.executable, "manage.py", *arguments], env=self.env, cwd=ROOT, check=True, timeout=300)

    def _answers(self) -> bool:
        assert self.process.popen.poll() is None, self.process.output
        try:
            return httpx.get(f"{self.address}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def create(self, title: str) -> str:
        answer = httpx.post(f"{self.address}/api/tasks/", json={"title": title}, headers=self.headers)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def connected(self) -> int:
        return int(httpx.get(f"{self.address}/api/events/status").json()["connected_clients"])


@contextmanager
def served(name: str, data_dir: Path) -> Iterator[Served]:
    running = Served(name, data_dir)
    try:
        yield running
    finally:
        running.process.end()


@pytest.fixture(params=list(COMMANDS), scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(request.param, tmp_path_factory.mktemp(request.param)) as running:
        yield running


def test_events_come_as_they_happen_and_a_disconnect_frees_everything(server: Served) -> None:
    with open_stream(f"{server.address}/api/events/stream") as frames:
        assert next(frames).json()["event"] == "connected"
        assert server.connected() == 1
        task_id = server.create("seen at once")
        event = next(frames).json()
        assert (event["event"], event["data"]["task_id"]) == ("task_created", task_id)
    wait_until(lambda: server.connected() == 0, "the stream is forgotten")


def test_a_stream_resumes_where_it_was(server: Served) -> None:
    with open_stream(f"{server.address}/api/events/stream") as frames:
        last = next(frames).id
    made = [server.create(f"missed {n}") for n in range(3)]
    with open_stream(f"{server.address}/api/events/stream", headers={"Last-Event-ID": last}) as frames:
        seen = until(frames, lambda frame: frame.json()["data"].get("task_id") == made[-1])
    assert [frame.json()["data"].get("task_id") for frame in seen] == [None, *made]
    assert [int(frame.id.partition(":")[2]) for frame in seen] == list(range(int(last[6:]), int(last[6:]) + 4))


def test_who_has_no_id_may_name_a_time(server: Served) -> None:
    server.create("before")
    moment = datetime.now(tz=UTC).isoformat().replace("+00:00", "Z")
    task_id = server.create("after")
    with open_stream(f"{server.address}/api/events/stream?since={moment}") as frames:
        assert next(frames).json()["event"] == "connected"
        assert next(frames).json()["data"]["task_id"] == task_id


def test_streams_of_many_clients_hold_no_thread_and_no_database_file(server: Served) -> None:
    folder = Path(f"/proc/{server.process.pid}")
    with httpx.Client(timeout=90, limits=httpx.Limits(max_connections=None)) as client:
        responses = [client.send(client.build_request("GET", f"{server.address}/api/events/stream"), stream=True)]
        lines = responses[0].iter_lines()  # kept: the response closes with its iterator
        assert next(lines) == "retry: 2000"
        threads, files = _held(folder)
        for _ in range(40):
            response = client.send(client.build_request("GET", f"{server.address}/api/events/stream"), stream=True)
            assert response.status_code == 200
            responses.append(response)
        wait_until(lambda: server.connected() == 41, "all are connected")
        wait_until(lambda: _held(folder)[0] <= threads + 3, "no thread stays with a stream")
        assert _held(folder)[1] <= files + 3
        for response in responses:
            response.close()
    wait_until(lambda: server.connected() == 0, "all are forgotten")


def _held(folder: Path) -> tuple[int, int]:
    """Threads, and open files of the database."""
    files = []
    for link in (folder / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            files += [link] if "sqlite3" in str(link.readlink()) else []
    return len(list((folder / "task").iterdir())), len(files)


def test_sigterm_says_goodbye_and_the_process_goes(tmp_path: Path) -> None:
    with served("uvicorn", tmp_path) as server, open_stream(f"{server.address}/api/events/stream") as frames:
        next(frames)
        server.process.signal(15)
        (farewell,) = list(frames)
        assert farewell.json()["event"] == "disconnected"
        assert farewell.json()["data"]["reason"] == "shutdown"
        assert farewell.json()["data"]["reconnect_in_ms"] > 0
        assert server.process.wait(60) in {0, -15}
