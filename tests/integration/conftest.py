"""The local sandbox server, for tests that run executions through the official SDK.

With `TASKHUB_TEST_DAEMON`, Daytona's own daemon stands behind its control API (`make test-daemon`).
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from rest_framework.test import APIClient

from sandboxes.gateway import open_gateway
from tests.local_server.daemon_front import running_daemons
from tests.local_server.local_server_harness import KEY
from tests.processes import Process, free_port

DAEMON = os.environ.get("TASKHUB_TEST_DAEMON", "")


@pytest.fixture(scope="session")
def sandbox_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its API address. One for all tests: sandboxes do not see each other."""
    if DAEMON:
        with running_daemons(Path(DAEMON)) as server:
            yield f"{server.url}/api"
        return
    port = free_port()
    data_dir = str(tmp_path_factory.mktemp("sandboxes"))
    command = [sys.executable, "-m", "sandboxes.local", "--data-dir", data_dir, "--port", str(port), "--faults"]
    process = Process(command, {"PATH": os.environ["PATH"], "LOCAL_SANDBOX_KEY": KEY, "PYTHONUNBUFFERED": "1"})
    try:
        process.wait_for_line("ready")
        yield f"http://127.0.0.1:{port}/api"
    finally:
        process.end()


@pytest.fixture
def sandboxes(sandbox_server: str, settings: Any) -> None:
    """Executions run there."""
    settings.DAYTONA_API_URL = sandbox_server
    settings.DAYTONA_API_KEY = KEY


@pytest.fixture
def namespaces(sandboxes: None) -> None:
    """Scripts do not reach this machine's processes, by what is seen from inside; else hostile ones would end it."""

    async def inside() -> str:
        async with open_gateway() as gateway:
            sandbox, _ = await gateway.sandbox_create(name=f"probe-{uuid.uuid4()}", labels={}, ttl_minutes=5)
            _, output = await sandbox.toolbox.shell("readlink /proc/self/ns/pid")
            await gateway.sandbox_delete(str(sandbox.id))
            return str(output).strip()

    theirs, ours = async_to_sync(inside)(), str(Path("/proc/self/ns/pid").readlink())
    if not theirs.startswith("pid:") or theirs == ours:
        pytest.skip("neither bubblewrap nor Daytona's daemon: hostile scripts would reach this machine's processes")


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
