"""A log as something to work with: raw with ranges while it runs, without its secrets, after its sandbox is gone."""

from __future__ import annotations

from datetime import datetime

import httpx
import pytest
from live_client import HubClient
from test_execution_logs_live import is_complete, is_line, let_go, lines_of, log_stream

from tests.processes import wait_until
from tests.streaming import Frame, open_stream, until

SECRET = "hunter2-of-a-live-test"
ENV = {"TOKEN": {"value": SECRET, "secret": True}}


def sse_query(client: HubClient, task_id: str) -> dict[str, str]:
    seen = client.status(task_id)
    return {
        "eventType": "logs",
        "sandboxId": seen["sandbox_id"],
        "sessionId": seen["session_name"],
        "commandId": seen["command_id"],
    }


def sse(client: HubClient, query: dict[str, str], last_id: str = "") -> list[Frame]:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    with open_stream(f"{client.address}/sse", params=query, headers=headers) as frames:
        return list(frames)


def raw(client: HubClient, task_id: str, asked: str = "") -> httpx.Response:
    headers = {"Range": asked} if asked else {}
    return client.http.get(f"/api/exec/logs/{task_id}/raw", headers=headers)


def test_raw_log_is_continued_while_it_runs(client: HubClient) -> None:
    task_id = client.create_task()
    client.execute(task_id, "seq 2000; until [ -e ~/go1 ]; do sleep 0.05; done; echo the end")
    with log_stream(client, task_id) as frames:
        until(frames, is_line("2000"))
        first = raw(client, task_id)
        assert first.status_code == 200
        assert first.text == "".join(f"{n}\n" for n in range(1, 2001))
        assert "ETag" not in first.headers
        size = len(first.content)
        middle = raw(client, task_id, "bytes=5000-5999")
        assert (middle.status_code, middle.content) == (206, first.content[5000:6000])
        assert middle.headers["Content-Range"] == f"bytes 5000-5999/{size}"
        assert raw(client, task_id, "bytes=-5").text == "2000\n"
        nothing_new = raw(client, task_id, f"bytes={size}-")
        assert (nothing_new.status_code, nothing_new.headers["Content-Range"]) == (416, f"bytes */{size}")
        let_go(client.hub, client.status(task_id)["sandbox_id"], 1)
        until(frames, is_complete)
    client.wait_for_end(task_id)
    rest = raw(client, task_id, f"bytes={size}-")
    assert (rest.status_code, rest.text) == (206, "the end\n")
    assert raw(client, task_id).content == first.content + rest.content


def test_secret_is_shown_nowhere_while_it_runs(client: HubClient) -> None:
    task_id = client.create_task()
    script = (
        'echo "first $TOKEN"; until [ -e ~/go1 ]; do sleep 0.05; done; printf "%s" "${TOKEN:0:9}"; '
        'until [ -e ~/go2 ]; do sleep 0.05; done; echo "${TOKEN:9} told"; touch "$TOKEN.txt"; sleep 1.5'
    )
    client.execute(task_id, script, env=ENV)
    seen: list[Frame] = []
    with client.events(task_id=task_id) as events, log_stream(client, task_id) as frames:
        seen += until(frames, is_line("first ***"))
        query = sse_query(client, task_id)
        with open_stream(f"{client.address}/sse", params=query) as command:
            seen += until(command, is_line("first ***"))
            sandbox = query["sandboxId"]
            let_go(client.hub, sandbox, 1)
            assert "hunter2" not in raw(client, task_id).text
            let_go(client.hub, sandbox, 2)
            seen += until(command, is_line("*** told"))
        seen += until(frames, is_complete)
        told = until(events, lambda frame: "file_changed" in frame.data)
    assert "***.txt" in told[-1].data
    client.wait_for_end(task_id)
    seen += sse(client, query)  # its sandbox has the log still
    with client.events(task_id=task_id, lastEventId="tasks:0") as events:
        seen += until(events, lambda frame: '"completed"' in frame.data)
    shown = [frame.data for frame in [*seen, *told]] + [raw(client, task_id).text]
    assert [text for text in shown if "hunter2" in text or SECRET[9:] in text] == []
    assert raw(client, task_id).text == "first ***\n*** told\n"
    found = client.http.get(f"/api/exec/logs/{task_id}", params={"q": "hunter2"}).json()
    assert (found["lines"], found["next"]) == ([], None)


def test_log_of_a_command_outlives_its_sandbox(client: HubClient) -> None:
    task_id, _ = client.run('seq 700; echo "$TOKEN"; printf unfinished; exit 3', env=ENV)
    query = sse_query(client, task_id)
    # Nothing has read it there: what is shown afterwards can only come from the archive.
    answer = client.http.delete(f"/api/sandboxes/{query['sandboxId']}")
    assert answer.status_code in {202, 204}, answer.text
    address = f"/api/sandboxes/{query['sandboxId']}"
    wait_until(lambda: client.http.get(address).status_code == 404, "the sandbox is gone")
    after = sse(client, query)
    assert lines_of(after) == [*(str(n) for n in range(1, 701)), "***", "unfinished"]
    assert [frame.event for frame in after] == ["connected", *["log"] * 702, "log-complete", "disconnected"]
    assert [frame.id for frame in after[1:-2]] == [f"{query['commandId']}:{n}" for n in range(1, 703)]
    assert (after[-2].json()["exit_code"], after[-2].json()["lines"]) == (3, 702)
    assert list(after[5].json()) == ["sandboxId", "sessionId", "commandId", "stream", "line", "n", "timestamp"]
    rest = sse(client, query, last_id=after[-4].id)
    assert lines_of(rest) == ["unfinished"]
    again = {"headers": {"Last-Event-ID": after[-2].id}, "params": query, "trust_env": False}
    assert httpx.get(f"{client.address}/sse", **again).status_code == 204  # type: ignore[arg-type]
    other = {**query, "commandId": "another"}
    assert httpx.get(f"{client.address}/sse", params=other, trust_env=False).status_code == 404
    # A caller who may not see the task may not see what is kept of it.
    assert client.http.patch(f"/api/tasks/{task_id}/", json={"private": True}).status_code == 200
    assert httpx.get(f"{client.address}/sse", params=query, trust_env=False).status_code == 404
    assert lines_of(sse_as_operator(client, query))[-1] == "unfinished"


def sse_as_operator(client: HubClient, query: dict[str, str]) -> list[Frame]:
    with open_stream(f"{client.address}/sse", params=query, headers=client.hub.headers) as frames:
        return list(frames)


def test_reader_who_comes_late_sees_when_lines_were_written(client: HubClient) -> None:
    task_id = client.create_task()
    client.execute(
        task_id, "echo first; sleep 4; echo second; touch done; until [ -e ~/go1 ]; do sleep 0.05; done; echo third"
    )
    with client.events(task_id=task_id, lastEventId="tasks:0") as events:
        until(events, lambda frame: "file_changed" in frame.data)
    # Only the worker has read the log until now.
    live = times_of(client, task_id)
    assert 3 <= (live["second"] - live["first"]).total_seconds() <= 5
    let_go(client.hub, client.status(task_id)["sandbox_id"], 1)
    client.wait_for_end(task_id)
    kept = times_of(client, task_id)
    assert list(kept) == ["first", "second", "third"]
    assert all(abs((kept[line] - live[line]).total_seconds()) <= 1 for line in live)


def times_of(client: HubClient, task_id: str) -> dict[str, datetime]:
    return {line["line"]: datetime.fromisoformat(line["timestamp"]) for line in client.log(task_id)}


@pytest.mark.parametrize("accept", ["text/plain", "application/json", "*/*"])
def test_raw_log_is_text_whatever_is_accepted(client: HubClient, accept: str) -> None:
    task_id, _ = client.run("echo hello")
    answer = httpx.get(
        f"{client.address}/api/exec/logs/{task_id}/raw", headers={"Accept": accept}, trust_env=False, timeout=30
    )
    assert (answer.status_code, answer.text) == (200, "hello\n")
