"""Hosts of agents, each working on a task over MCP (`mcp_hosts.py`)."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import httpx

from tests.clients.environments import HERE, python
from tests.processes import RunningHub

HOSTS: Final = ("fastmcp", "openai-agents", "langchain-mcp-adapters", "pydantic-ai", "google-genai")


def check(hub: RunningHub) -> None:
    """Raises AssertionError if a host cannot read the tools, or cannot work with what strict mode sends."""
    with ThreadPoolExecutor(3) as pool:
        for host, seen in zip(HOSTS, pool.map(lambda host: _work(hub, host), HOSTS), strict=True):
            assert "seen" in seen["task"], (host, seen)
            assert "task_not_found" in seen["refused"], (host, seen)
            assert len(seen["tools"]) == 14, (host, seen["tools"])
            assert seen.get("not strict", []) == [], (host, seen["not strict"])


def _work(hub: RunningHub, host: str) -> dict[str, Any]:
    with httpx.Client(base_url=hub.address, headers=hub.headers, timeout=60) as http:
        task_id = http.post("/api/tasks/", json={"title": host}).raise_for_status().json()["id"]
        command = [python(host), str(HERE / "mcp_hosts.py"), host, f"{hub.address}/mcp", hub.token, task_id]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, (host, done.stderr[-2000:])
        task = http.get(f"/api/tasks/{task_id}/").raise_for_status().json()
    assert task["status"] == "done", (host, task, done.stdout)
    return dict(json.loads(done.stdout))
