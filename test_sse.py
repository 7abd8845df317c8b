"""Watch one task from its creation to the end of its execution: `python test_sse.py [address] [--token-file FILE]`.

Connects to the event stream, creates and updates a task, runs a script for it, and prints every event of that task.
Ends with 0 only if all the expected events came; it needs nothing beyond Python itself.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

EXPECTED = ["task_created", "task_updated", "execution_event started", "execution_event completed"]
SCRIPT = "echo hello from the sandbox; uname -s"


def main() -> int:
    options = _options()
    try:
        token = options.token_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        print(f"No token: {options.token_file} cannot be read ({error.strerror}). Is `make run` running?")
        return 2
    if not (token.isascii() and token.isalnum()):
        print(f"No token: {options.token_file} holds something else.")
        return 2
    hub = Hub(options.address.rstrip("/"), token, options.timeout)
    try:
        seen = run(hub)
    except TimeoutError:
        print(f"Nothing came for {options.timeout} s.")
        return 1
    except urllib.error.HTTPError as error:
        print(f"{error.url} answered {error.code}: {error.read().decode(errors='replace')}")
        return 1
    except (OSError, ValueError, http.client.HTTPException) as error:
        print(f"{hub.address} does not answer ({error}). Is `make run` running? If it is elsewhere, give its address.")
        return 2
    missing = [name for name in EXPECTED if name not in seen]
    print(f"Missing: {', '.join(missing)}" if missing else "All expected events came.")
    return 1 if missing else 0


def run(hub: Hub) -> list[str]:
    """Drives the task and returns the names of the events that came for it, in order."""
    events = hub.events()
    first = next(events)
    print(f"{first['event']}: {json.dumps(first['data'])}")
    task = hub.call("POST", "/api/tasks/", {"title": "test_sse.py", "priority": "high"})
    hub.call("PUT", f"/api/tasks/status/{task['id']}", {"new_status": "inprogress", "assignee": "alice"})
    hub.call("POST", f"/api/exec/{task['id']}", {"script_content": SCRIPT})
    seen = []
    for event in events:
        if event["data"].get("task_id") != task["id"]:
            continue
        seen.append(_name(event))
        print(f"{seen[-1]}: {json.dumps(event['data'])}")
        if event["event"] == "execution_event" and event["data"]["execution_event"] != "started":
            break
    return seen


def _name(event: dict[str, Any]) -> str:
    step = event["data"].get("execution_event")
    return f"{event['event']} {step}" if step else str(event["event"])


class Hub:
    """The hub's address and how to speak to it."""

    def __init__(self, address: str, token: str, timeout: float) -> None:
        self.address = address
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._timeout = timeout

    def call(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(self.address + path, json.dumps(body).encode(), self._headers, method=method)
        with urllib.request.urlopen(request, timeout=self._timeout) as answer:
            parsed: dict[str, Any] = json.load(answer)
        return parsed

    def events(self) -> Iterator[dict[str, Any]]:
        """The envelopes of the stream. Raises TimeoutError when none came for the time limit."""
        request = urllib.request.Request(f"{self.address}/api/events/stream", headers=self._headers)
        until = time.monotonic() + self._timeout
        with urllib.request.urlopen(request, timeout=self._timeout) as stream:
            for line in stream:
                if line.startswith(b"data: "):
                    until = time.monotonic() + self._timeout
                    yield json.loads(line[6:])
                elif time.monotonic() > until:
                    raise TimeoutError


def _options() -> argparse.Namespace:
    data_dir = Path(os.environ.get("TASKHUB_DATA_DIR", Path(__file__).parent / "var"))
    port = os.environ.get("TASKHUB_PORT", "8000")
    parser = argparse.ArgumentParser(description="Watch one task from its creation to the end of its execution.")
    parser.add_argument("address", nargs="?", default=f"http://localhost:{port}", help="%(default)s unless given")
    parser.add_argument("--token-file", type=Path, default=data_dir / "token", help="%(default)s unless given")
    parser.add_argument("--timeout", type=float, default=60, help="seconds without an event before giving up")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
