"""A hundred runs in a whole hub use secret values in every way: none of the values is anywhere afterwards.

Each run has a value that the hub masks, of its own, and one of the vault that the local sandbox server masks. They are
printed, in a failing command's error, traced by `set -x`, and in names of files; also by setups and by verifications,
whose last lines become notes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import redis
from live_client import FINISHED

from taskhub.executions.masking import MASK
from taskhub.models import Execution
from tests.canaries import SCRIPT, SHOWN, canary, files_below, found_in
from tests.processes import RunningHub, running_hub, wait_until
from tests.receiver import Receiver, receiving
from tests.servers.collector import Collector, running_collector

RUNS = 100
ENTRIES = 10
"""Of the vault, each for the runs of one environment."""
WATCHED = 4
"""Runs whose sandbox is followed by `/sse`, too."""
CHECKED = 2
KEEP_S = 5
LONG_S = 300
WAITS = "until [ -e ~/go ]; do sleep 0.1; done\n"
ENDED = "event: log-complete"


class Places(NamedTuple):
    """Where a whole hub writes to."""

    hub: RunningHub
    collector: Collector
    receiver: Receiver


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    with running_collector() as collector, receiving() as receiver:
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "TASKHUB_LOG_FORMAT": "json",
            "TASKHUB_SANDBOX_KEEP_S": "0",
            "TASKHUB_WEBHOOKS_ALLOW_PRIVATE": "1",
        }
        with running_hub(tmp_path / "data", env) as hub:
            yield Places(hub, collector, receiver)


class Client:
    """`captured` has what came through streams, by their names; `answers` what REST answered."""

    def __init__(self, http: httpx.AsyncClient, hub: RunningHub) -> None:
        self._http = http
        self._hub = hub
        self.captured: dict[str, list[str]] = {"events": [], "log": [], "sandbox": []}
        self.answers: list[bytes] = []
        self.logs: dict[int, bytes] = {}
        self._steps: dict[str, list[dict[str, Any]]] = {}
        self._stepped = asyncio.Condition()

    async def post(self, address: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self._http.post(address, json=body)
        assert answer.is_success, answer.text
        return dict(answer.json())

    async def follow(self, name: str, address: str, until: Callable[[str], bool]) -> list[str]:
        """Up to the line that is the last."""
        lines: list[str] = []
        async with self._http.stream("GET", address) as answer:
            assert answer.status_code == 200, await answer.aread()
            async for line in answer.aiter_lines():
                lines.append(line)
                if until(line):
                    break
        self.captured[name] += lines
        return lines

    async def events(self) -> None:
        """All of them, until it is cancelled."""
        async with self._http.stream("GET", "/api/events/stream?lastEventId=tasks:0") as answer:
            async for line in answer.aiter_lines():
                self.captured["events"].append(line)
                if line.startswith("data: ") and '"execution_event"' in line:
                    step = json.loads(line.removeprefix("data: "))["data"]
                    async with self._stepped:
                        self._steps.setdefault(step["execution_id"], []).append(step)
                        self._stepped.notify_all()

    async def step(self, execution_id: str, *wanted: str) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            steps = self._steps.get(execution_id, [])
            return next((step for step in steps if step["execution_event"] in wanted), None)

        async with asyncio.timeout(LONG_S), self._stepped:
            await self._stepped.wait_for(lambda: reached() is not None)
        step = reached()
        assert step is not None
        return step

    async def run(self, number: int) -> None:
        task_id = (await self.post("/api/tasks/", {"title": f"run {number}"}))["id"]
        body = {
            "script_content": (WAITS if number < WATCHED else "") + SCRIPT + f"exit {number % 2}",
            "environment": f"vault-{number % ENTRIES}",
            "env": {"CANARY_HUB": {"value": canary("hub", number), "secret": True}},
        }
        queued = (await self.post(f"/api/exec/{task_id}", body))["execution_id"]
        log = self.follow("log", f"/api/exec/logs/{task_id}/stream", lambda line: line == ENDED)
        async with asyncio.TaskGroup() as group:
            group.create_task(log)
            if number < WATCHED:
                group.create_task(self._watch(await self.step(queued, "started")))
        ended = await self.step(queued, *FINISHED)
        assert ended["execution_event"] == ("failed" if number % 2 else "completed")
        addresses = [f"/api/exec/logs/{task_id}?tail=5000", f"/api/exec/artifacts/{task_id}"]
        if number < ENTRIES:
            addresses += f"/api/executions/{queued}", f"/api/tasks/{task_id}/history/", f"/api/tasks/{task_id}/"
        answers = [(await self._http.get(address)).content for address in addresses]
        self.logs[number] = answers[0]
        self.answers += answers

    async def _watch(self, step: dict[str, Any]) -> None:
        """By the sandbox's own streams; its script waits until they are open."""
        sandbox_id = step["sandbox_id"]
        query = f"sandboxId={sandbox_id}&sessionId={step['session_name']}&commandId={step['command_id']}"

        def last(line: str) -> bool:
            go = self._hub.data_dir / "sandboxes" / sandbox_id / "home" / "go"
            if go.parent.is_dir():
                go.touch()
            return line == ENDED

        await self.follow("sandbox", f"/sse?eventType=logs&{query}", last)

    async def check(self, number: int) -> None:
        script = 'echo "checked: $CANARY_VAULT"; cd "/of-no-such-name/$CANARY_VAULT"; exit 3'
        body = {"title": "checked", "environment": f"vault-{number}", "verify": script, "verify_policy": "required"}
        task_id = (await self.post("/api/tasks/", body))["id"]
        queued = await self.post(f"/api/tasks/{task_id}/verify/", {})
        await self.step(queued["execution_id"], "failed")
        notes = (await self._http.get(f"/api/tasks/{task_id}/notes/")).content
        assert b"checked: ***" in notes
        self.answers.append(notes)


@contextlib.asynccontextmanager
async def client_of(hub: RunningHub) -> AsyncIterator[Client]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    async with httpx.AsyncClient(
        base_url=hub.address, headers=hub.headers, timeout=LONG_S, trust_env=False, limits=limits
    ) as http:
        client = Client(http, hub)
        events = asyncio.create_task(client.events())
        try:
            yield client
        finally:
            events.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await events


async def make_and_run(places: Places) -> Client:
    async with client_of(places.hub) as client:
        await client.post("/api/webhooks/", {"url": places.receiver.url})
        for n in range(ENTRIES):
            entry = {"name": f"entry-{n}", "value": canary("vault", n), "hosts": ["example.com"]}
            await client.post("/api/secrets/", entry)
            setup = f'for name in ${{!CANARY_@}}; do echo "set up with ${{!name}}" >&2; done; : of {n}'
            environment = {"name": f"vault-{n}", "secrets": {"CANARY_VAULT": f"entry-{n}"}, "setup": setup}
            await client.post("/api/environments/", environment | ({"keep_sandbox_s": KEEP_S} if n < WATCHED else {}))
        async with asyncio.TaskGroup() as group:
            for n in range(RUNS):
                group.create_task(client.run(n))
            for n in range(CHECKED):
                group.create_task(client.check(n))
        return client


def rows(hub: RunningHub) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{hub.data_dir}/taskhub.sqlite3?mode=ro", uri=True)


def released(hub: RunningHub) -> bool:
    table = Execution._meta.db_table
    with contextlib.closing(rows(hub)) as found:
        left = found.execute(f"SELECT count(*) FROM {table} WHERE released_at IS NULL OR secret_env != ''")
        return bool(left.fetchone()[0] == 0)


def sandboxes_left(hub: RunningHub) -> list[Path]:
    return list((hub.data_dir / "sandboxes").glob("*/sandbox.json"))


def dump(hub: RunningHub) -> bytes:
    with contextlib.closing(rows(hub)) as found:
        return "\n".join(found.iterdump()).encode()


def redis_content(hub: RunningHub) -> bytes:
    """Every key with its value, as Redis itself would store it; LZF would hide a text, so it is off."""
    environ = Path(f"/proc/{hub.child_pid('celery')}/environ").read_text().split("\0")
    broker = redis.Redis.from_url(dict(each.split("=", 1) for each in environ if "=" in each)["REDIS_URL"])
    broker.config_set("rdbcompression", "no")
    return b"".join(key + (broker.dump(key) or b"") for key in broker.scan_iter())


def test_a_hundred_runs_leave_no_secret_value_anywhere(places: Places) -> None:
    hub = places.hub
    client = asyncio.run(make_and_run(places))
    wait_until(lambda: released(hub) and not sandboxes_left(hub), "the release of all sandboxes", LONG_S)
    told = places.receiver.wait_for(RUNS, LONG_S)
    places.collector.wait_for(lambda service, _: service == "taskhub-worker", "a worker")
    found = {
        **{name: "\n".join(lines).encode() for name, lines in client.captured.items()},
        "answers": b"\n".join(client.answers),
        "database": dump(hub),
        "Redis": redis_content(hub),
        "spool, archive and kept files": files_below(hub.data_dir, besides="sandboxes"),
        "logs": "\n".join(hub.process.output).encode(),
        "traces": places.collector.text.encode(),
        "webhooks": "\n".join(each.body + str(each.headers) for each in told).encode(),
        "the local server's store": files_below(hub.data_dir / "sandboxes"),
    }
    everything = {*(canary("hub", n) for n in range(RUNS)), *(canary("vault", n) for n in range(ENTRIES))}
    assert {name: found_in(content, everything) for name, content in found.items()} == {name: set() for name in found}
    # The scripts did what they are for, and what is looked through is where a value would be.
    for log in client.logs.values():
        lines = [line["line"] for line in json.loads(log)["lines"]]
        assert [sum(words.format(MASK) in line for line in lines) for words in SHOWN] == [2] * len(SHOWN), lines
        assert sum(f"set up with {MASK}" in line for line in lines) == 2
    assert found["log"].count(b"printed: ***, ") == 2 * RUNS
    assert found["sandbox"].count(b"printed: ***, ") == 2 * WATCHED
    assert found["answers"].count(f'"out/{MASK}/{MASK}"'.encode()) == RUNS
    assert all(name in found[place] for place, name in KNOWN.items())


KNOWN = {
    "events": b'"file_changed"',
    "database": b"entry-0",
    "Redis": b"celery",
    "spool, archive and kept files": b"its content: none",
    "logs": b"taskhub",
    "traces": b"/api/exec/",
    "webhooks": b'"execution_event"',
    "the local server's store": b"entry-0",
}
"""What is no secret, and is found there."""
