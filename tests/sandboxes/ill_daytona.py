"""A Daytona that can be ill, and installations on top of it: what the tests of this folder start."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.processes import ROOT, Process, free_port
from tests.servers.hubs import Installation
from tests.streaming import Frame, open_stream

KEY = "a-key-that-must-not-be-seen-anywhere"
VERSION = {"X-Daytona-SDK-Version": "0.226.1"}
FOLLOW = "GET /toolbox/{sandboxId}/process/session/{sessionId}/command/{commandId}/logs"
ONE = "GET /api/sandbox/{sandboxIdOrName}"
PAGE = "GET /api/sandbox"
SESSIONS = "GET /toolbox/{sandboxId}/process/session"


class Daytona:
    """The local sandbox server, with faults on demand; it keeps its port when it is started again."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.api_url = f"{self.url}/api"
        self._command = [
            *(sys.executable, "-m", "sandboxes.local", "--data-dir", str(data_dir), "--port", str(self.port)),
            *("--no-bwrap", "--faults", "--kill-grace-s", "0.5", "--transition-ms", "5", *options),
        ]
        self.http = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {KEY}", **VERSION}, timeout=90, trust_env=False
        )
        self.process: Process | None = None
        self.start()

    def start(self) -> None:
        env = {"PATH": os.environ["PATH"], "LOCAL_SANDBOX_KEY": KEY, "PYTHONUNBUFFERED": "1"}
        self.process = Process(self._command, env)
        self.process.wait_for_line("ready")

    def end(self) -> None:
        if self.process is not None:
            self.process.end()
            self.process = None

    def close(self) -> None:
        self.end()
        self.http.close()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.http.request(method, path, json=body)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def fault(self, match: str, **effect: Any) -> None:
        self.call("POST", "/faults", {"match": match, **effect})

    def heal(self) -> None:
        self.call("DELETE", "/faults")

    def requests(self) -> dict[str, int]:
        """How often each route was asked since the start of the server."""
        return dict(self.call("GET", "/requests"))

    @contextlib.contextmanager
    def counted(self) -> Iterator[dict[str, int]]:
        """How often each route was asked inside; filled at the end."""
        before = self.requests()
        found: dict[str, int] = {}
        yield found
        found |= {
            route: count - before.get(route, 0)
            for route, count in self.requests().items()
            if count != before.get(route, 0)
        }

    def sandbox(self, **fields: Any) -> str:
        fields.setdefault("autoStopInterval", 0)
        return str(self.call("POST", "/api/sandbox", fields)["id"])

    def session(self, sandbox_id: str, session_id: str = "s") -> None:
        self.call("POST", f"/toolbox/{sandbox_id}/process/session", {"sessionId": session_id})

    def run(self, sandbox_id: str, command: str, session_id: str = "s") -> str:
        """Starts a command in the session's own shell and answers its id."""
        path = f"/toolbox/{sandbox_id}/process/session/{session_id}/exec"
        return str(self.call("POST", path, {"command": command, "runAsync": True})["cmdId"])

    def input(self, sandbox_id: str, command_id: str, data: str, session_id: str = "s") -> None:
        self.call(
            "POST", f"/toolbox/{sandbox_id}/process/session/{session_id}/command/{command_id}/input", {"data": data}
        )

    def exit_code(self, sandbox_id: str, command_id: str, session_id: str = "s") -> int | None:
        path = f"/toolbox/{sandbox_id}/process/session/{session_id}/command/{command_id}"
        code = self.call("GET", path).get("exitCode")
        return None if code is None else int(code)

    def command(self, text: str) -> tuple[str, str]:
        """A sandbox of its own, and a command that has just started in its session `s`."""
        sandbox_id = self.sandbox()
        self.session(sandbox_id)
        return sandbox_id, self.run(sandbox_id, text)


class Console:
    """Asks an installation's database and runs its jobs, in a process that stays (see console.py)."""

    def __init__(self, env: dict[str, str]) -> None:
        self._errors = ""
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.sandboxes.console"],
            env=env,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "ready\n"

    def _line(self) -> str:
        assert self.popen.stdout is not None
        return self.popen.stdout.readline()

    def ask(self, expression: str) -> Any:
        assert self.popen.stdin is not None
        self.popen.stdin.write(expression + "\n")
        self.popen.stdin.flush()
        answer = json.loads(self._line())
        assert "error" not in answer, answer
        return answer["value"]

    def end(self) -> None:
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        self.popen.stdin.close()
        self.popen.wait(60)  # a busy machine takes its time
        self.popen.stdout.close()


class Watched(Installation):
    """Web processes that look at this Daytona; the jobs run when a test says so."""

    def __init__(self, data_dir: Path, daytona: Daytona, **env: str) -> None:
        for name, value in {"DAYTONA_API_KEY": KEY, "DAYTONA_API_URL": daytona.api_url, **env}.items():
            os.environ[name] = value
        try:
            super().__init__(data_dir)
        finally:
            for name in ("DAYTONA_API_KEY", "DAYTONA_API_URL", *env):
                os.environ.pop(name, None)
        self.daytona = daytona
        self.console = Console(self.env)

    def sse(self, web: str, **query: str) -> str:
        return f"{self.address(web)}/sse?{httpx.QueryParams(query)}"

    def log_url(self, web: str, sandbox_id: str, command_id: str, session_id: str = "s") -> str:
        return self.sse(web, eventType="logs", sandboxId=sandbox_id, sessionId=session_id, commandId=command_id)

    def ask(self, expression: str) -> Any:
        return self.console.ask(expression)

    def end(self) -> None:
        self.console.end()
        super().end()


@contextlib.contextmanager
def events(url: str, *, timeout_s: float = 30.0, **options: Any) -> Iterator[Iterator[Frame]]:
    """The stream's events, without its comments."""
    with open_stream(url, timeout_s=timeout_s, trust_env=False, **options) as frames:
        yield (frame for frame in frames if frame.data)
