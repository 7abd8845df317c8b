"""The local sandbox server, for tests that run executions through the official SDK."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

import pytest
from rest_framework.test import APIClient

from tests.processes import Process, free_port

KEY = "a-key-for-this-test-run-only"


@pytest.fixture(scope="session")
def sandbox_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Process]]:
    """One for all tests: sandboxes do not see each other."""
    port = free_port()
    data_dir = str(tmp_path_factory.mktemp("sandboxes"))
    command = [sys.executable, "-m", "sandboxes.local", "--data-dir", data_dir, "--port", str(port)]
    process = Process(command, {"PATH": os.environ["PATH"], "LOCAL_SANDBOX_KEY": KEY, "PYTHONUNBUFFERED": "1"})
    try:
        process.wait_for_line("ready")
        yield f"http://127.0.0.1:{port}/api", process
    finally:
        process.end()


@pytest.fixture(scope="session")
def sandbox_server(sandbox_process: tuple[str, Process]) -> str:
    """Its API address."""
    return sandbox_process[0]


@pytest.fixture
def sandbox_output(sandbox_process: tuple[str, Process]) -> Callable[[], str]:
    """What the server has printed."""
    return lambda: "\n".join(sandbox_process[1].output)


@pytest.fixture
def sandboxes(sandbox_server: str, settings) -> None:
    """Executions run there."""
    settings.DAYTONA_API_URL = sandbox_server
    settings.DAYTONA_API_KEY = KEY


@pytest.fixture
def execute(api: APIClient):
    """Create a task and queue an execution of it over REST; answers the 202's body."""

    def run(script: str, **body: object) -> dict[str, str]:
        task = api.post("/api/tasks/", {"title": "t"}, format="json").json()
        answer = api.post(f"/api/exec/{task['id']}", {"script_content": script, **body}, format="json")
        assert answer.status_code == 202, answer.content
        queued: dict[str, str] = answer.json()
        return queued

    return run
