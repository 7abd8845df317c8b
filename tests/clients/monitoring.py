"""Tools around Celery: `celery inspect` and Flower see the worker of a hub, and its jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx

from tests.clients.environments import python
from tests.processes import ROOT, Process, RunningHub, free_port, wait_until

PATIENCE_S: Final = 180.0
JOB: Final = "taskhub.jobs.executions_reconcile"
"""Beat sends it every second, and every five while nothing runs."""


def check(hub: RunningHub, scratch: Path) -> None:
    """Raises AssertionError if a tool does not find the worker or the job."""
    broker = f"redis+socket://{hub.data_dir}/redis.sock?virtual_host=0"
    (worker,) = inspect(hub, "ping")
    assert JOB in inspect(hub, "registered")[worker]
    assert inspect(hub, "stats")[worker]["total"][JOB] > 0
    with ExitStack() as stack:
        address = start_flower(broker, scratch, stack)
        wait_until(
            lambda: JOB in ask(address, "/api/workers?refresh=1").get(worker, {}).get("stats", {}).get("total", {}),
            "Flower finds the worker",
            PATIENCE_S,
        )

        def sees_a_job() -> bool:
            jobs = ask(address, "/api/tasks").values()
            return any((job["name"], job["state"], job["worker"]) == (JOB, "SUCCESS", worker) for job in jobs)

        wait_until(sees_a_job, "Flower sees a job", PATIENCE_S)


def inspect(hub: RunningHub, what: str) -> dict[str, Any]:
    """What `celery inspect` answers, by worker, with the hub's own environment."""
    redis = f"unix://{hub.data_dir}/redis.sock"
    env = {**hub.env, "DJANGO_SETTINGS_MODULE": "config.settings.local", "REDIS_URL": redis}
    command = [
        sys.executable,
        "-m",
        "celery",
        "--app",
        "config",
        "--quiet",
        "inspect",
        "--timeout",
        "30",
        "--json",
        what,
    ]
    done = subprocess.run(command, env=env, cwd=ROOT, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def start_flower(broker: str, scratch: Path, stack: ExitStack) -> str:
    """Its address. It needs nothing of the hub but the broker."""
    port = free_port()
    options = ["--address=127.0.0.1", f"--port={port}", "--inspect_timeout=10000"]
    command = [python("flower"), "-m", "celery", "--broker", broker, "flower", *options]
    env = {"PATH": os.environ["PATH"], "HOME": str(scratch), "FLOWER_UNAUTHENTICATED_API": "true"}
    process = Process(command, env, cwd=scratch)
    stack.callback(process.end)
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.popen.poll() is None, "\n".join(process.output)
        try:
            return httpx.get(f"{address}/healthcheck", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    wait_until(answers, "Flower answers", PATIENCE_S)
    return address


def ask(address: str, path: str) -> dict[str, Any]:
    answer = httpx.get(f"{address}{path}", timeout=60)
    return dict(answer.json()) if answer.status_code == 200 else {}
