"""Webhooks of the hub, verified by standardwebhooks and svix, in Python and in Node.js."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Final

import httpx

from tests.clients import snippets
from tests.clients.environments import HERE, NPM, node, python
from tests.processes import RunningHub
from tests.receiver import Received, receiving

LIBRARIES: Final = ("standardwebhooks", "svix")


def check(hub: RunningHub, scratch: Path) -> None:
    """Raises AssertionError if a library refuses what the hub sent, or takes what was changed on the way.

    The snippets of docs/clients.md get the same request.
    """
    with receiving() as receiver, httpx.Client(base_url=hub.address, headers=hub.headers, timeout=60) as http:
        made = http.post("/api/webhooks/", json={"url": receiver.url, "event_types": ["task_created"]})
        assert made.status_code == 201, made.text
        http.post("/api/tasks/", json={"title": "日本語 🙂 one\u2028two"}).raise_for_status()
        (sent,) = receiver.wait_for(1, within_s=120)
        http.delete(f"/api/webhooks/{made.json()['id']}/").raise_for_status()
    changed = sent._replace(body=sent.body.replace("日本語", "中文"))
    for library in LIBRARIES:
        for command in (
            [python("webhooks"), str(HERE / "verify_webhook.py"), library],
            [node(), str(NPM / "verify_webhook.mjs"), library],
        ):
            assert verified(command, made.json()["secret"], sent) == "verified", (command, sent)
            assert verified(command, made.json()["secret"], changed) == "refused", (command, changed)
    snippets.check_webhooks(sent, made.json()["secret"], scratch)


def verified(command: list[str], secret: str, request: Received) -> str:
    headers = {name: value for name, value in request.headers.items() if name.startswith("webhook-")}
    asked = json.dumps({"secret": secret, "headers": headers, "body": request.body})
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
