"""An agent that may be killed at any moment: a process that claims tasks, works on them, and sets them to done.

Every fifth speaks REST, the others MCP, each in bare messages. What it did stands in a file of its own, a line each, so
that it outlives the agent: `holds`, `done`, `lost` (409 `lease_lost`) and `unknown` (no answer), each with the task.
"""

from __future__ import annotations

import itertools
import multiprocessing
import random
import time
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Self

import httpx

LEASE_S: Final = 10
"""The shortest that a claim may ask for."""
WORK_S: Final = (1.0, 3.0)
FORKS: Final = multiprocessing.get_context("forkserver")
"""Agents are forked from a process that has loaded this module: so a death costs little."""
_WAIT_S: Final = 5
_ACCEPT: Final = {"Accept": "application/json, text/event-stream"}


@dataclass(frozen=True)
class Life:
    """What an agent is given. `addresses`: web processes; it goes on with the next one where one does not answer."""

    name: str
    token: str
    addresses: tuple[str, ...]
    record: Path
    over_rest: bool


class Refused(Exception):
    """`str` is the error's code."""


def live(life: Life) -> None:
    """Until it is killed."""
    addresses = itertools.cycle(life.addresses)
    with life.record.open("a", buffering=1) as record:
        while True:
            # A web process may be dying; what was asked of it may have been done.
            with suppress(httpx.TransportError), _Hub(life, next(addresses)) as hub:
                while True:
                    _do_one(hub, lambda what, task: print(what, task, file=record))
            time.sleep(0.2)


def _do_one(hub: _Hub, tell: Any) -> None:
    claimed = hub.claim()
    if claimed["task"] is None:
        return
    task, lease = claimed["task"]["id"], claimed["lease"]["token"]
    tell("holds", task)
    time.sleep(random.uniform(*WORK_S))
    try:
        hub.finish(task, lease)
    except Refused as refusal:
        tell("lost" if str(refusal) == "lease_lost" else str(refusal), task)
    except httpx.TransportError:
        tell("unknown", task)
        raise
    else:
        tell("done", task)


class _Hub:
    """One web process, as this agent sees it."""

    def __init__(self, life: Life, address: str) -> None:
        self._life = life
        headers = {"Authorization": f"Bearer {life.token}"}
        self._http = httpx.Client(base_url=address, headers=headers, timeout=90, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def claim(self) -> dict[str, Any]:
        if self._life.over_rest:
            query = {"as": self._life.name, "wait_s": _WAIT_S}
            return _answer(self._http.post("/api/tasks/claim", json={"lease_s": LEASE_S}, params=query))
        return self._tool("claim_task", lease_s=LEASE_S, wait_s=_WAIT_S)

    def finish(self, task: str, lease: str) -> None:
        """Raises Refused."""
        if self._life.over_rest:
            headers, query = {"TaskHub-Lease": lease}, {"as": self._life.name}
            body = {"new_status": "done"}
            _answer(self._http.put(f"/api/tasks/status/{task}", json=body, headers=headers, params=query))
        else:
            self._tool("set_task_status", task_id=task, lease=lease, new_status="done")

    def _tool(self, tool: str, **arguments: Any) -> dict[str, Any]:
        params = {"name": tool, "arguments": {"as": self._life.name, **arguments}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        result = _answer(self._http.post("/mcp", json=message, headers=_ACCEPT))["result"]
        if result["isError"]:
            raise Refused(result["structuredContent"]["error"]["code"])
        return dict(result["structuredContent"])


def _answer(response: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    if response.status_code >= HTTPStatus.BAD_REQUEST:
        raise Refused(body["error"]["code"])
    return body
