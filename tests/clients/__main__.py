"""Runs the matrix: `python -m tests.clients`. Exits with 1 if a client does not read the hub as it should.

Two hubs at once: one of `make run`, and one of the production profile behind nginx with TLS. The OpenAPI and AsyncAPI
documents are checked beside them (`.ci/document_checks.py`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.clients import agent_hosts, environments, monitoring, oauth_hosts, snippets, spec_pages, targets, webhooks
from tests.clients.matrix import check_target
from tests.clients.targets import Target
from tests.processes import ROOT, RunningHub, running_hub


def main() -> int:
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="taskhub-clients-", ignore_cleanup_errors=True) as name,
        ExitStack() as stack,
    ):
        scratch = Path(name)
        with ThreadPoolExecutor(3) as pool:
            installed = pool.submit(environments.make_all)
            production = pool.submit(stack.enter_context, targets.production())
            hub = stack.enter_context(running_hub(scratch / "hub", {"TASKHUB_WEBHOOKS_ALLOW_PRIVATE": "1"}))
            installed.result()
            both = [targets.local(hub), production.result()]
        _say(began, "the clients are installed, and two hubs run")
        checks = Checks()
        with ThreadPoolExecutor(3) as pool:
            pool.submit(checks.run, "the documents fit the official tools", _check_documents, hub)
            for number, target in enumerate(both):
                pool.submit(_check, checks, target, hub, scratch / f"{number}")
        checks.run(
            "the examples of both specs, and test_sse.html, in Chromium and Firefox",
            spec_pages.check,
            both,
            scratch / "pages",
        )
    _say(began, f"{len(checks.failed)} checks failed" if checks.failed else "all clients read both hubs as they should")
    return 1 if checks.failed else 0


class Checks:
    """Every check is made, whatever became of the others."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def run(self, what: str, check: Callable[..., object], *arguments: Any) -> None:
        try:
            check(*arguments)
        except Exception:  # noqa: BLE001 - whatever it was, the other checks are still made
            self.failed.append(what)
            print(f"FAILED: {what}\n{traceback.format_exc()}", flush=True)
        else:
            print(f"ok: {what}", flush=True)


def _check(checks: Checks, target: Target, hub: RunningHub, scratch: Path) -> None:
    """What needs one hub, one after the other; what is not about streams only on the hub of `make run`."""
    scratch.mkdir()
    if target.open_reading:
        verified = "standardwebhooks and svix of both registries verify what the hub signs"
        checks.run(verified, webhooks.check, hub, scratch / "webhooks")
        checks.run("the snippets of docs/clients.md work as they are", snippets.check, target, scratch / "snippets")
        checks.run("hosts of agents work on a task over MCP", agent_hosts.check, hub)
        checks.run("`celery inspect` and Flower see the worker and its jobs", monitoring.check, hub, scratch)
    checks.run(f"{target.name}: OAuth clients sign in", oauth_hosts.check, target, scratch / "oauth")
    checks.run(f"{target.name}: all clients", check_target, target, scratch / "matrix")


def _check_documents(hub: RunningHub) -> None:
    """The official tools on OpenAPI and AsyncAPI, and clients generated from them. Raises AssertionError."""
    env = {**os.environ, "TASKHUB_ADDRESS": hub.address, "TASKHUB_TOKEN": hub.token}
    command = [sys.executable, str(ROOT / ".ci" / "document_checks.py")]
    done = subprocess.run(command, env=env, check=False, capture_output=True, text=True, timeout=900)
    print(done.stdout, end="", flush=True)
    assert done.returncode == 0, done.stderr


def _say(began: float, what: str) -> None:
    print(f"{what} ({time.monotonic() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
