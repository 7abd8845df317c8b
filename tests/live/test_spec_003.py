"""Spec 003 on the wire: its three client examples as written, the envelope, resuming, filters, addresses."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
import pytest
from live_client import HubClient, envelopes

from tests.processes import ROOT, Process, RunningHub, free_port, wait_until
from tests.spec_examples import SPEC_003_BROWSER
from tests.streaming import Frame, open_stream, until

if TYPE_CHECKING:
    from playwright.sync_api import Page

CURL_EXAMPLE = "curl -N http://localhost:8000/api/events/stream"
AIOHTTP_EXAMPLE = """\
import aiohttp
import asyncio
import json

async def listen_to_events():
    async with aiohttp.ClientSession() as session:
        async with session.get("http://localhost:8000/api/events/stream") as response:
            async for line in response.content:
                if line:
                    decoded = line.decode('utf-8').strip()
                    if decoded.startswith('data: '):
                        data = json.loads(decoded[6:])
                        print(f"Event: {data}")

asyncio.run(listen_to_events())
"""
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z\Z")


def is_event(name: str) -> Any:
    return lambda frame: bool(frame.data) and frame.json()["event"] == name


def names(frames: list[Frame]) -> list[str]:
    return [envelope["event"] for envelope in envelopes(frames)]


def is_without_gap(frames: list[Frame]) -> bool:
    """Whether each event has the number after that of the one before."""
    numbers = [frame.number for frame in frames if frame.data]
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_example_as_written(client: HubClient) -> None:
    process = Process(shlex.split(CURL_EXAMPLE.replace("8000", str(client.hub.port))), os.environ)
    try:
        process.wait_for_line('"event":"connected"')
        task_id = client.create_task("seen by curl")
        assert task_id in process.wait_for_line('"event":"task_created"')
    finally:
        process.end()


def test_aiohttp_example_as_written(client: HubClient, tmp_path: Path) -> None:
    script = tmp_path / "listen.py"
    script.write_text(AIOHTTP_EXAMPLE.replace("8000", str(client.hub.port)))
    process = Process([sys.executable, "-u", str(script)], os.environ)
    try:
        assert process.wait_for_line("Event: ").startswith("Event: {'id': ")
        task_id = client.create_task("seen by aiohttp")
        assert task_id in process.wait_for_line("'task_created'")
    finally:
        process.end()


@pytest.mark.browser
def test_browser_example_as_written(client: HubClient, page: Page) -> None:
    page.goto(f"{client.address}/test_sse.html")
    with page.expect_console_message(lambda message: message.text.startswith("Event received:")) as caught:
        # As in the console: the policy of the page lets no script pass that stands in it.
        page.evaluate(SPEC_003_BROWSER.replace("8000", str(client.hub.port)))
    assert caught.value.args[1].json_value()["event"] == "connected"
    with page.expect_console_message(lambda message: message.text.startswith("Event received:")) as caught:
        task_id = client.create_task("seen by a browser")
    event = caught.value.args[1].json_value()
    assert event["event"] == "task_created"
    assert event["data"]["task_id"] == task_id


def test_envelopes_have_the_specified_fields(client: HubClient) -> None:
    task_id = client.create_task("an envelope", priority="high")
    client.set_status(task_id, "inprogress", assignee="alice", artifacts=["file1.txt", "file2.md"])
    execution = client.execute(task_id, "true")
    client.wait_for_step(task_id, "completed")
    # Announcements reach every stream that does not choose its types, and others have made some on this hub.
    types = "task_created,task_updated,execution_event"
    with client.events(lastEventId="tasks:0", task_id=task_id, types=types) as frames:
        seen = until(frames, lambda frame: "completed" in frame.data)
    assert names(seen) == ["connected", "task_created", "task_updated", "execution_event", "execution_event"]
    for envelope, frame in zip(envelopes(seen), [each for each in seen if each.data], strict=True):
        assert list(envelope) == ["id", "event", "data", "timestamp"]
        assert frame.event == "message"
        UUID(envelope["id"])
        assert TIMESTAMP.match(envelope["timestamp"])
    assert len({envelope["id"] for envelope in envelopes(seen)}) == len(envelopes(seen))
    updated, started = envelopes(seen)[2]["data"], envelopes(seen)[3]["data"]
    wanted = {
        "task_id": task_id,
        "status": "inprogress",
        "priority": "high",
        "assignee": "alice",
        "artifacts": ["file1.txt", "file2.md"],
    }
    assert {name: updated[name] for name in wanted} == wanted
    assert started["task_id"] == task_id
    assert started["execution_event"] == "started"
    assert started["session_name"] == execution["session_name"]
    assert started["log_file"] == execution["log_file"]
    assert re.match(r"logs/task-.+\.log\Z", started["log_file"])


@pytest.mark.parametrize("by_header", [True, False], ids=["header", "query"])
def test_stream_resumes_without_gap_or_repetition(client: HubClient, by_header: bool) -> None:
    with client.events() as frames:
        until(frames, is_event("connected"))
        made = [client.create_task(f"number {n}") for n in range(6)]
        seen = until(frames, lambda frame: made[-1] in frame.data)
    last_id = next(frame.id for frame in seen if made[1] in frame.data)
    options: dict[str, Any] = {"headers": {"Last-Event-ID": last_id}} if by_header else {}
    query = {} if by_header else {"lastEventId": last_id}
    with open_stream(f"{client.address}/api/events/stream", params=query, **options) as frames:
        again = until(frames, lambda frame: made[-1] in frame.data)
        later = client.create_task("live after the past")
        again += until(frames, lambda frame: later in frame.data)
    assert names(again)[0] == "connected"
    # Executions of other tests on this hub may send events in between, with numbers of their own.
    about = [each["data"].get("task_id") for each in envelopes(again)]
    assert [task_id for task_id in about if task_id in {*made, later}] == [*made[2:], later]
    assert is_without_gap(again)


def test_filters_let_through_only_what_was_asked_for(client: HubClient) -> None:
    mine, other = client.create_task("mine", assignee="filter-alice"), client.create_task("another")
    with (
        client.events(types="task_deleted,task_created") as by_type,
        client.events(task_id=mine) as by_task,
        client.events(assignee="filter-alice") as by_assignee,
    ):
        for frames in (by_type, by_task, by_assignee):
            until(frames, is_event("connected"))
        client.set_status(other, "inprogress")
        client.set_status(mine, "inprogress", assignee="filter-bob")
        client.set_status(mine, "review")
        assert client.http.delete(f"/api/tasks/{mine}").status_code == 204
        assert client.http.delete(f"/api/tasks/{other}").status_code == 204
        last = client.create_task("the end", assignee="filter-alice")
        types = envelopes(until(by_type, lambda frame: last in frame.data))
        tasks = envelopes(until(by_task, is_event("task_deleted")))
        people = envelopes(until(by_assignee, lambda frame: last in frame.data))
    assert [each["event"] for each in types] == ["task_deleted", "task_deleted", "task_created"]
    assert [each["event"] for each in tasks] == ["task_updated", "task_updated", "task_deleted"]
    # The step that took the task away from alice is hers to see; what came later is not.
    assert [each["data"]["task_id"] for each in people] == [mine, last]


def test_keepalive_comes_every_thirty_seconds(client: HubClient) -> None:
    with client.events(timeout_s=35) as frames:
        assert next(frame for frame in frames if frame.comment).comment == "keepalive"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("lastEventId=17", "last_event_id_malformed"),
        ("lastEventId=tasks:x", "last_event_id_malformed"),
        ("lastEventId=others:1", "last_event_id_malformed"),
        ("types=task_updated,nonsense", "invalid"),
        ("task_id=nonsense", "invalid"),
    ],
)
def test_wrong_query_is_refused_before_the_stream_opens(client: HubClient, query: str, code: str) -> None:
    answer = client.http.get(f"/api/events/stream?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == code


def test_id_from_the_future_resets_the_stream_and_goes_on_live(client: HubClient) -> None:
    with client.events(lastEventId="tasks:999999999") as frames:
        reset = until(frames, is_event("stream-reset"))[-1]
        assert reset.json()["data"]["current_id"] == reset.id
        task_id = client.create_task("after the reset")
        following = until(frames, lambda frame: task_id in frame.data)
    assert following[-1].json()["event"] == "task_created"
    assert is_without_gap([reset, *following])


def test_status_counts_the_connected_clients(client: HubClient) -> None:
    def connected() -> int:
        answer = client.http.get("/api/events/status")
        assert answer.status_code == 200
        assert answer.json()["status"] == "ok"
        return int(answer.json()["connected_clients"])

    wait_until(lambda: connected() == 0, "no stream of another test is open")
    with client.events() as one, client.events() as two:
        next(one)
        next(two)
        assert connected() == 2
        assert client.http.get("/api/events/status").json()["clients_per_channel"] == {"tasks": 2}
    wait_until(lambda: connected() == 0, "closed streams are forgotten")


@pytest.mark.parametrize("slash", ["", "/"])
def test_specified_paths_work_with_and_without_trailing_slash(client: HubClient, slash: str) -> None:
    with open_stream(f"{client.address}/api/events/stream{slash}") as frames:
        assert next(frames).json()["event"] == "connected"
    http, task_id = client.http, client.create_task()
    assert http.get(f"/api/events/status{slash}").status_code == 200
    assert http.put(f"/api/tasks/status/{task_id}{slash}", json={"new_status": "inprogress"}).status_code == 200
    assert http.post(f"/api/exec/{task_id}{slash}", json={"script_content": "true"}).status_code == 202
    client.wait_for_end(task_id)
    assert http.get(f"/api/exec/status/{task_id}{slash}").json()["status"] == "completed"
    assert http.get(f"/api/exec/logs/{task_id}{slash}").status_code == 200
    assert http.get(f"/api/exec/logs/{task_id}/stream{slash}").status_code == 200
    assert http.post(f"/api/exec/stop/{task_id}{slash}").status_code == 409


def run_test_sse(address: str, token_file: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "test_sse.py", address, "--token-file", str(token_file), *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_script_test_sse_sees_all_events(hub: RunningHub) -> None:
    done = run_test_sse(hub.address, hub.data_dir / "token")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.partition(":")[0] for line in done.stdout.splitlines()]
    wanted = ["connected", "task_created", "task_updated", "execution_event started", "execution_event completed"]
    assert [line for line in lines if line in wanted] == wanted


def test_script_test_sse_fails_without_a_hub(hub: RunningHub) -> None:
    done = run_test_sse(f"http://localhost:{free_port()}", hub.data_dir / "token")
    assert done.returncode != 0
    assert "does not answer" in done.stdout
    assert "Traceback" not in done.stderr


def test_script_test_sse_fails_with_a_wrong_token(hub: RunningHub, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0" * 64)
    done = run_test_sse(hub.address, tmp_path / "token")
    assert done.returncode != 0
    assert "401" in done.stdout
    assert "Traceback" not in done.stderr


def test_script_test_sse_fails_when_no_worker_works(hub: RunningHub) -> None:
    worker = hub.child_pid(" worker ")
    os.kill(worker, signal.SIGSTOP)
    try:
        done = run_test_sse(hub.address, hub.data_dir / "token", "--timeout", "3")
    finally:
        os.kill(worker, signal.SIGCONT)
    assert done.returncode != 0
    assert "task_updated" in done.stdout
    assert "started" not in done.stdout
    assert "Traceback" not in done.stderr


def test_stream_needs_no_token_here_but_refuses_a_wrong_one(hub: RunningHub) -> None:
    headers = {"Authorization": "Bearer wrong"}
    answer = httpx.get(f"{hub.address}/api/events/stream", headers=headers, trust_env=False)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "not_authenticated"
