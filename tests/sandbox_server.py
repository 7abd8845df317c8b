"""The local sandbox server as a process of its own, with options, for hubs that a test starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import httpx

from tests.processes import Process, free_port

KEY = "a-key-for-this-test-run-only"


class SandboxServer:
    """`env` leads a hub to it."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.env = {"DAYTONA_API_URL": f"{self.address}/api", "DAYTONA_API_KEY": KEY}
        self.headers = {"Authorization": f"Bearer {KEY}"}
        command = [
            *(sys.executable, "-m", "sandboxes.local"),
            "--data-dir",
            str(data_dir),
            "--port",
            str(port),
            *options,
        ]
        env = {"PATH": os.environ["PATH"], "LOCAL_SANDBOX_KEY": KEY, "PYTHONUNBUFFERED": "1"}
        self.process = Process(command, env)
        self.process.wait_for_line("ready")

    def states(self) -> list[str]:
        """Of all its sandboxes, at most 200."""
        answer = httpx.get(f"{self.address}/api/sandbox?limit=200", headers=self.headers, trust_env=False)
        return [item["state"] for item in answer.json()["items"]]

    def requests(self) -> dict[str, int]:
        """How often each route was asked for; with `--faults`."""
        answer = httpx.get(f"{self.address}/requests", headers=self.headers, trust_env=False)
        return dict(answer.json())

    def fault(self, match: str, *, times: int = 1, **effect: object) -> None:
        """See `Fault` of the server; with `--faults`."""
        body = {"match": f"{match}$", "times": times, **effect}
        answer = httpx.post(f"{self.address}/faults", json=body, headers=self.headers, trust_env=False)
        assert answer.status_code < HTTPStatus.BAD_REQUEST, answer.text

    def forget_faults(self) -> None:
        httpx.delete(f"{self.address}/faults", headers=self.headers, trust_env=False)


@contextmanager
def running_sandbox_server(data_dir: Path, *options: str) -> Iterator[SandboxServer]:
    server = SandboxServer(data_dir, *options)
    try:
        yield server
    finally:
        server.process.end()
