"""Clients that sign in at a hub with OAuth: TypeScript SDK, mcp-remote, inspector, the conformance suite's checks.

The Python SDK's is in `tests/live/test_oauth_live.py`. A scripted browser agrees on the consent page.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from tests.clients.environments import NPM, node
from tests.clients.targets import Target
from tests.consent_browser import ConsentBrowser
from tests.processes import ROOT, free_port, wait_until

MCP: Final = ROOT / ".ci" / "mcp"
CONFORMANCE: Final = MCP / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
INSPECTOR: Final = MCP / "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"
REMOTE: Final = NPM / "node_modules" / "mcp-remote" / "dist" / "proxy.js"


def check(target: Target, scratch: Path) -> None:
    """Raises AssertionError."""
    scratch.mkdir(exist_ok=True)
    token = target.headers["Authorization"].split()[1]
    with ConsentBrowser(target.address, token, verify=target.verify) as browser:
        _typescript(target, browser)
        _conformance(target, browser)
        if not target.open_reading:
            # It passes on what a hub that is open to readers says, and signs in only where its connection is refused.
            _remote(target, browser, scratch)
        else:
            _inspector(target, browser, scratch)


def _typescript(target: Target, browser: ConsentBrowser) -> None:
    with _running(target, [node(), str(MCP / "oauth.mjs")]) as process:
        address = _line(process.stdout, "/oauth/authorize")
        said, errors = process.communicate(browser.agree(address) + "\n", timeout=120)
    assert process.returncode == 0, errors
    assert "signed in" in said


def _conformance(target: Target, browser: ConsentBrowser) -> None:
    """Metadata and the code grant, as the suite checks an authorization server."""
    port = free_port()
    client = {"redirect_uris": [f"http://127.0.0.1:{port}/callback"], "token_endpoint_auth_method": "none"}
    made = httpx.post(f"{target.address}/oauth/register", json=client, verify=target.verify).raise_for_status().json()
    command = [node(), str(CONFORMANCE), "authorization", "--url", target.address, "--client-id", made["client_id"]]
    with _running(target, [*command, "--resource", f"{target.address}/mcp", "--port", str(port)]) as process:
        address = _line(process.stdout, "/oauth/authorize?")
        httpx.get(browser.agree(address), timeout=30, trust_env=False)
        said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, said + errors
    assert "0 failed" in said, said


def _remote(target: Target, browser: ConsentBrowser, scratch: Path) -> None:
    """mcp-remote opens no browser where there is none, and says which address it would have opened."""
    command = [node(), str(REMOTE), f"{target.address}/mcp", str(free_port())]
    env = {"MCP_REMOTE_CONFIG_DIR": str(scratch / "mcp-remote"), "BROWSER": "/bin/false", "HOME": str(scratch)}
    with _running(target, command, env) as process:
        address = _line(process.stderr, "/oauth/authorize")
        _lead_back(browser.agree(address))
        _line(process.stderr, "Proxy established")
        begin = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        assert _ask(process, "initialize", begin)["result"]["serverInfo"]["name"] == "taskhub"
        arguments = {"tasks": [{"title": "by mcp-remote"}]}
        called = _ask(process, "tools/call", {"name": "create_tasks", "arguments": arguments})
        assert not called["result"].get("isError"), called


def _inspector(target: Target, browser: ConsentBrowser, scratch: Path) -> None:
    """Its command line: the call of a tool is refused, and is repeated after the sign-in that this begins."""
    options = ["--transport", "http", "--callback-url", f"http://127.0.0.1:{free_port()}/oauth/callback"]
    call = ["--method", "tools/call", "--tool-name", "create_tasks", "--tool-arg", 'tasks=[{"title": "inspected"}]']
    # Without a terminal it asks for no sign-in unless it may open a browser; where that fails it says the address.
    env = {"HOME": str(scratch), "BROWSER": "/bin/false", "MCP_AUTO_OPEN_ENABLED": "true"}
    command = [node(), str(INSPECTOR), "--cli", f"{target.address}/mcp", *options, *call]
    with _running(target, command, env) as process:
        _lead_back(browser.agree(_line(process.stderr, "/oauth/authorize")))
        said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert json.loads(said)["isError"] is False, said


def _lead_back(address: str) -> None:
    """A client may listen a moment after it has said the address: a person takes longer."""

    def is_taken() -> bool:
        try:
            return httpx.get(address, timeout=30, trust_env=False).status_code == 200
        except httpx.ConnectError:
            return False

    wait_until(is_taken, "the client listens for the answer")


def _ask(process: subprocess.Popen[str], method: str, params: dict[str, Any]) -> dict[str, Any]:
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}) + "\n")
    process.stdin.flush()
    found: dict[str, Any] = json.loads(process.stdout.readline())
    return found


@contextmanager
def _running(target: Target, command: list[str], env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    whole = {**os.environ, "HUB": target.address, **target.trust, **(env or {})}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=whole, text=True, stdin=pipe, stdout=pipe, stderr=pipe, cwd=MCP)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _line(stream: Any, wanted: str) -> str:
    """The word of the output that holds the text. Raises AssertionError where the output ends before."""
    seen = []
    for line in stream:
        seen.append(line)
        if wanted in line:
            return next((word for word in line.split() if wanted in word), line).strip("\"'()")
    raise AssertionError("".join(seen))


if __name__ == "__main__":
    # By hand, against a hub of `make run`: python -m tests.clients.oauth_hosts <address> <token> <folder>
    check(Target("by hand", sys.argv[1], {"Authorization": f"Bearer {sys.argv[2]}"}, lambda: None), Path(sys.argv[3]))
