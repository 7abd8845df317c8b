"""The MCP server of a hub that runs, against the protocol's own tools: its conformance suite and its inspector.

    python .ci/mcp_checks.py       from the root; npm must be installed

1. Installs both, and a Node.js that they run on, from `.ci/mcp/package-lock.json`.
2. Starts a hub as `make run` does, on a data folder of its own, with a task in it.
3. Runs every scenario of the suite in both eras of the protocol. `.ci/mcp/baseline.yml` names the checks that do not
   apply and why.
4. Lists tools, resources and prompts with the inspector, calls a tool and reads a resource.
5. Runs the tasks extension through the official TypeScript SDK and its package for tasks (`.ci/mcp/tasks.mjs`).

Exits with 1 if something is not as it should be; the output says what.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.node import find_node, install_npm  # noqa: E402 - found by the line above
from tests.processes import RunningHub, running_hub  # noqa: E402 - likewise

HERE = ROOT / ".ci" / "mcp"
MODULES = HERE / "node_modules" / "@modelcontextprotocol"
CONFORMANCE = MODULES / "conformance" / "dist" / "index.js"
INSPECTOR = MODULES / "inspector" / "clients" / "launcher" / "build" / "index.js"
REVISIONS = ("2025-11-25", "2026-07-28")


def node() -> str:
    """The Node.js of the lock file; what the machine has may be too old."""
    return find_node(HERE) or "node"


def conforms(hub: RunningHub, revision: str, scratch: Path) -> bool:
    command = [node(), str(CONFORMANCE), "server", "--url", f"{hub.address}/mcp", "--suite", "all"]
    options = ["--spec-version", revision, "--expected-failures", str(HERE / "baseline.yml"), "-o", str(scratch)]
    done = subprocess.run([*command, *options], check=False, capture_output=True, text=True, timeout=300)
    print(f"--- conformance, {revision} ---", done.stdout[done.stdout.find("=== SUMMARY ===") :], sep="\n")
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n")
    return done.returncode == 0


class Inspector:
    """Its command line; it keeps its own files below `scratch`."""

    def __init__(self, hub: RunningHub, scratch: Path) -> None:
        self._hub = hub
        self._env = {**os.environ, "HOME": str(scratch)}

    def __call__(self, method: str, *arguments: str) -> dict[str, Any]:
        address = f"{self._hub.address}/mcp"
        header = ["--header", f"Authorization: Bearer {self._hub.token}"]
        command = [node(), str(INSPECTOR), "--cli", address, "--transport", "http", *header, "--method", method]
        done = subprocess.run(
            [*command, *arguments], check=False, capture_output=True, text=True, timeout=60, env=self._env
        )
        if done.returncode:
            raise SystemExit(f"the inspector's {method}: {done.stdout}{done.stderr}")
        print(f"inspector: {method} {' '.join(arguments)}".rstrip())
        return dict(json.loads(done.stdout))


def inspect(hub: RunningHub, scratch: Path, task_id: str) -> bool:
    inspector = Inspector(hub, scratch)
    # --strict: schemas that some clients cannot read are errors.
    tools = {tool["name"] for tool in inspector("tools/list", "--strict")["tools"]}
    made = inspector("tools/call", "--tool-name", "create_tasks", "--tool-arg", 'tasks=[{"title":"by the inspector"}]')
    uri = f"taskhub://tasks/{task_id}"
    read = inspector("resources/read", "--uri", uri)["contents"][0]
    return (
        "getSSEConnectionUrl" in tools
        and not made["isError"]
        and made["structuredContent"]["tasks"][0]["version"] == 1
        and uri in {resource["uri"] for resource in inspector("resources/list")["resources"]}
        and json.loads(read["text"])["id"] == task_id
        and len(inspector("resources/templates/list")["resourceTemplates"]) > 0
        and len(inspector("prompts/list")["prompts"]) > 0
        and "x" in str(inspector("prompts/get", "--prompt-name", "coordinate_tasks", "--prompt-args", "goal=x"))
    )


def has_tasks(hub: RunningHub) -> bool:
    env = {**os.environ, "HUB": hub.address, "TOKEN": hub.token}
    command = [node(), str(HERE / "tasks.mjs")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=180, env=env)
    print(done.stdout, done.stderr, sep="")
    return done.returncode == 0


def main() -> int:
    install_npm(HERE)
    with tempfile.TemporaryDirectory(prefix="taskhub-mcp-") as name, running_hub(Path(name) / "hub") as hub:
        scratch = Path(name)
        made = httpx.post(f"{hub.address}/api/tasks/", json={"title": "to be read"}, headers=hub.headers)
        good = [conforms(hub, revision, scratch / revision) for revision in REVISIONS]
        good.append(inspect(hub, scratch, made.json()["id"]))
        good.append(has_tasks(hub))
    print("The MCP server is as it should be." if all(good) else "The MCP server is not as it should be: see above.")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
