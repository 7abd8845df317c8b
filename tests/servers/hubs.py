"""Web processes over a database and a Redis that a test may break: what `tests/servers` starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx

from config.launcher import redis_server
from tests.processes import ROOT, Process, free_port, wait_for_redis, wait_until


class Installation:
    """A data folder, a database and a private Redis; web processes on top of them, on ports that stay theirs."""

    def __init__(self, data_dir: Path, database_url: str | None = None) -> None:
        self.redis_socket = data_dir / "redis.sock"
        self.env = {
            **{name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
            "TASKHUB_DATA_DIR": str(data_dir),
            "REDIS_URL": f"unix://{self.redis_socket}",
            "DJANGO_SETTINGS_MODULE": "config.settings.local",
            "PYTHONUNBUFFERED": "1",
        }
        if database_url is not None:
            self.env["DATABASE_URL"] = database_url
        self.processes: dict[str, Process] = {}
        self.ports: dict[str, int] = {}
        self.start_redis()
        self.manage("migrate", "--verbosity", "0")
        self.manage("first_start")
        self.token = (data_dir / "token").read_text().strip()
        self.headers = {"Authorization": f"Bearer {self.token}"}

    def manage(self, *arguments: str) -> None:
        subprocess.run([sys.executable, "manage.py", *arguments], env=self.env, cwd=ROOT, check=True, timeout=60)

    def start(self, name: str, *command: str) -> Process:
        return self._start(name, [sys.executable, *command], self.env)

    def _start(self, name: str, command: list[str], env: dict[str, str]) -> Process:
        """In the place of the process that had the name, if there was one."""
        if name in self.processes:
            self.processes.pop(name).end()
        process = self.processes[name] = Process(command, env)
        return process

    def start_redis(self) -> None:
        self.redis_socket.unlink(missing_ok=True)
        command = redis_server.command_line(redis_server.find_binary(), self.redis_socket)
        self._start("redis", command, {})
        wait_for_redis(self.env["REDIS_URL"])

    def start_web(self, name: str, *options: str) -> None:
        port = self.ports.setdefault(name, free_port())
        serve = ("-m", "uvicorn", "config.asgi:application", "--port", str(port), "--no-access-log")
        process = self.start(name, *serve, "--timeout-graceful-shutdown", "8", *options)

        def answers() -> bool:
            assert process.popen.poll() is None, "\n".join(process.output)
            try:
                return httpx.get(f"{self.address(name)}/healthz").status_code == 200
            except httpx.TransportError:
                return False

        wait_until(answers, f"{name} answers")

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def status(self, name: str) -> dict[str, object]:
        answer: dict[str, object] = httpx.get(f"{self.address(name)}/api/events/status").json()
        return answer

    def end(self) -> None:
        for process in reversed(self.processes.values()):
            process.end()
