"""The hub's application, with one more address for tests: how many requests wait, and how often what was looked at.

`GET /counted` answers `{"open": …, "looks": {…}}`: places among the streams that are taken, and calls that have ended,
by name.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any

from config.asgi import application as hub
from taskhub.api import tasks
from taskhub.events.open_streams import registry
from taskhub.mcp import claim_tool, execution_tools, task_tools

looks: Counter[str] = Counter()


def _count(module: Any, name: str) -> None:
    counted: Callable[..., Any] = getattr(module, name)

    @wraps(counted)
    def counting(*args: Any, **kwargs: Any) -> Any:
        try:
            return counted(*args, **kwargs)
        finally:
            looks[name] += 1

    setattr(module, name, counting)


_count(claim_tool, "task_claim")
_count(task_tools, "task_page")
_count(execution_tools, "execution_get_for")
_count(execution_tools, "execution_queue")
_count(tasks, "task_get_for")


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http" or scope["path"] != "/counted":
        await hub(scope, receive, send)
        return
    body = json.dumps({"open": len(registry._slots), "looks": looks}).encode()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
