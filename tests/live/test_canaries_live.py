"""Canaries in a whole hub: nothing that streams to clients has them, nor any file of the hub while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import redis
from live_client import HubClient

from tests.canaries import SCRIPT, canaries, files_below, found_in
from tests.processes import RunningHub

COUNT = 10


def captured(client: HubClient, address: str, until: Callable[[str], bool]) -> tuple[threading.Thread, list[str]]:
    """Everything that comes through a stream, up to the line that is its last."""
    lines: list[str] = []
    opened = threading.Event()

    def read() -> None:
        with httpx.stream("GET", client.address + address, headers=client.hub.headers, timeout=90) as answer:
            opened.set()
            for line in answer.iter_lines():
                lines.append(line)
                if until(line):
                    return

    thread = threading.Thread(target=read)
    thread.start()
    assert opened.wait(60)
    return thread, lines


def test_streams_and_files_of_a_running_hub_have_no_canary(hub: RunningHub, client: HubClient) -> None:
    ours, theirs = canaries("live-env", COUNT), {f"V{name}": v for name, v in canaries("live-vault", COUNT).items()}
    for name, value in theirs.items():
        body = {"name": f"live-{name}", "value": value, "hosts": ["example.com"]}
        assert client.http.post("/api/secrets/", json=body).status_code == 201
    environment = {"name": "canaries-live", "secrets": {name: f"live-{name}" for name in theirs}}
    assert client.http.post("/api/environments/", json=environment).status_code == 201
    task_id = client.create_task()
    events, told = captured(
        client, f"/api/events/stream?task_id={task_id}", lambda line: '"execution_event":"completed"' in line
    )
    script = f"sleep 0.5; {SCRIPT}{SCRIPT.replace('CANARY_', 'VCANARY_')}"
    env = {name: {"value": value, "secret": True} for name, value in ours.items()}
    client.execute(task_id, script, env=env, environment="canaries-live")
    step = client.wait_for_step(task_id, "started")
    streams = {
        "log": captured(client, f"/api/exec/logs/{task_id}/stream", lambda line: line == "event: log-complete"),
        "sandbox": captured(
            client,
            f"/sse?eventType=logs&sandboxId={step['sandbox_id']}&sessionId={step['session_name']}"
            f"&commandId={step['command_id']}",
            lambda line: line == "event: log-complete",
        ),
    }
    for thread, _ in (*streams.values(), (events, told)):
        thread.join(90)
        assert not thread.is_alive()
    environ = Path(f"/proc/{hub.child_pid('celery')}/environ").read_text().split("\0")
    broker = redis.Redis.from_url(dict(each.split("=", 1) for each in environ if "=" in each)["REDIS_URL"])
    broker.config_set("rdbcompression", "no")
    places = {
        **{name: "\n".join(lines).encode() for name, (_, lines) in streams.items()},
        "events": "\n".join(told).encode(),
        "output": "\n".join(hub.process.output).encode(),
        # Homes of sandboxes are the scripts' own until they are released.
        "files": files_below(hub.data_dir, besides="home"),
        "Redis": b"".join(key + (broker.dump(key) or b"") for key in broker.scan_iter()),
    }
    assert all(places[name].count(b"printed: ***, ") == 2 * COUNT for name in ("log", "sandbox"))
    assert b"files" in places["events"]
    values = {*ours.values(), *theirs.values()}
    assert {name: found_in(content, values) for name, content in places.items()} == {name: set() for name in places}
