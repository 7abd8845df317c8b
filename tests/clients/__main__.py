"""Runs the matrix: `python -m tests.clients`. Exits with 1 if a client does not read the hub as it should."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.clients import environments, monitoring, webhooks
from tests.clients.matrix import LOG_EVENTS, Matrix, check_events, check_logs, finished_command, reported
from tests.processes import running_hub


def main() -> int:
    began = time.monotonic()
    environments.make_all()
    print(f"the clients are installed ({time.monotonic() - began:.0f} s)", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="taskhub-clients-", ignore_cleanup_errors=True) as name,
        ExitStack() as stack,
    ):
        hub = stack.enter_context(running_hub(Path(name) / "hub", {"TASKHUB_WEBHOOKS_ALLOW_PRIVATE": "1"}))
        with reported("standardwebhooks and svix of both registries verify what the hub signs"):
            webhooks.check(hub)
        matrix = Matrix(hub, Path(name), stack)
        wanted = finished_command(matrix)
        logs = matrix.start(LOG_EVENTS, "sse", **wanted)
        check_logs(logs, wanted)
        for process in {id(each.process): each.process for each in logs}.values():
            process.end()
        with reported("`celery inspect` and Flower see the worker and its jobs"):
            monitoring.check(hub, Path(name))
        events = matrix.start(["message"], "events")
        check_events(matrix, events)
    print(f"{len(events)} clients read the hub as they should ({time.monotonic() - began:.0f} s).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
