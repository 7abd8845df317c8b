"""Logs of executions: live line by line, resumed anywhere, cut at the limit, in flat memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from live_client import HubClient, peak_kib, resident_kib

from tests.processes import RunningHub, descendants
from tests.streaming import Frame, open_stream, until

GROWTH_KIB = 60 * 1024


@contextmanager
def log_stream(client: HubClient, task_id: str, last_id: str = "") -> Iterator[Iterator[Frame]]:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    with open_stream(f"{client.address}/api/exec/logs/{task_id}/stream", headers=headers) as frames:
        yield frames


def lines_of(frames: list[Frame]) -> list[str]:
    return [frame.json()["line"] for frame in frames if frame.event == "log"]


def is_line(text: str) -> object:
    return lambda frame: frame.event == "log" and frame.json()["line"] == text


def is_complete(frame: Frame) -> bool:
    return frame.event == "log-complete"


# Prints a line whenever its file appears: nothing here depends on time.
STEPS = 'for n in 1 2 3 4 5 6; do until [ -e ~/go$n ]; do sleep 0.05; done; echo "line $n"; done; exit 5'


def let_go(hub: RunningHub, sandbox_id: str, *numbers: int) -> None:
    for n in numbers:
        (hub.data_dir / "sandboxes" / sandbox_id / "home" / f"go{n}").touch()


def test_log_streams_live_and_resumes_in_the_middle(client: HubClient) -> None:
    task_id = client.create_task()
    client.execute(task_id, STEPS)
    with log_stream(client, task_id) as frames:
        assert next(frames).event == "connected"
        sandbox = client.wait_for_step(task_id, "started")["sandbox_id"]
        seen: list[Frame] = []
        for n in (1, 2, 3):
            let_go(client.hub, sandbox, n)
            # It comes while the script waits for the next file: live, not in the end.
            seen += until(frames, is_line(f"line {n}"))
    assert lines_of(seen) == ["line 1", "line 2", "line 3"]
    let_go(client.hub, sandbox, 4)
    with log_stream(client, task_id, seen[-2].id) as frames:
        again = until(frames, is_line("line 4"))
        let_go(client.hub, sandbox, 5, 6)
        again += until(frames, is_complete)
        assert next(frames, None) is None  # the stream ends by itself
    assert lines_of(again) == ["line 3", "line 4", "line 5", "line 6"]
    assert again[-1].json()["exit_code"] == 5
    assert again[-1].json()["status"] == "failed"
    assert again[-1].json()["lines"] == 6


def test_log_of_an_ended_execution_resumes_as_well(client: HubClient) -> None:
    task_id, _ = client.run("for n in 1 2 3 4; do echo out $n; echo err $n >&2; done")
    with log_stream(client, task_id) as frames:
        whole = until(frames, is_complete)
    logged = [frame for frame in whole if frame.event == "log"]
    assert len(logged) == 8
    assert [frame.json()["n"] for frame in logged] == list(range(1, 9))
    for position, frame in enumerate(logged):
        with log_stream(client, task_id, frame.id) as frames:
            assert lines_of(until(frames, is_complete)) == lines_of(logged[position + 1 :])
    # To an EventSource 204 means: do not come back.
    answer = client.http.get(f"/api/exec/logs/{task_id}/stream", headers={"Last-Event-ID": whole[-1].id})
    assert answer.status_code == 204


def test_live_log_and_archive_number_their_lines_alike(client: HubClient) -> None:
    task_id = client.create_task()
    both = "for n in $(seq 300); do echo out $n; echo err $n >&2; done"
    script = f"{both}; printf 'p\\rq\\n'; head -c 99999 /dev/zero | tr '\\0' a"
    with_ids: list[list[tuple[str, str]]] = []
    client.execute(task_id, script)
    for _ in ("live", "from the archive"):
        with log_stream(client, task_id) as frames:
            seen = until(frames, is_complete)
        with_ids.append([(frame.id, frame.json()["line"]) for frame in seen if frame.event == "log"])
    assert with_ids[0] == with_ids[1]
    assert len(with_ids[0]) == 603


def test_tail_gives_the_last_lines_while_running_and_afterwards(client: HubClient) -> None:
    task_id = client.create_task()
    client.execute(task_id, "seq 1000; until [ -e ~/go1 ]; do sleep 0.05; done; echo the end")
    with log_stream(client, task_id) as frames:
        until(frames, is_line("1000"))
    assert [line["line"] for line in client.log(task_id, 3)] == ["998", "999", "1000"]
    assert len(client.log(task_id, 100)) == 100
    let_go(client.hub, client.status(task_id)["sandbox_id"], 1)
    client.wait_for_end(task_id)
    assert [(line["n"], line["line"]) for line in client.log(task_id, 2)] == [(1000, "1000"), (1001, "the end")]
    assert client.status(task_id)["log_lines"] == 1001


@pytest.mark.parametrize("last_id", ["17", "tasks:1", "00000000-0000-0000-0000-000000000000:x"])
def test_wrong_id_is_refused(client: HubClient, last_id: str) -> None:
    task_id, _ = client.run("true")
    url = f"{client.address}/api/exec/logs/{task_id}/stream"
    answer = httpx.get(url, headers={"Last-Event-ID": last_id}, trust_env=False)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "last_event_id_malformed"


def warm_up(client: HubClient) -> None:
    """Every part has done its work once: what it imports for that is not growth."""
    task_id = client.create_task()
    client.execute(task_id, "echo warm; sleep 1; echo done")
    with log_stream(client, task_id) as frames:
        until(frames, is_complete)
    client.log(task_id)


@pytest.mark.parametrize(
    "script",
    # The limit is 10 MiB. Fifteen million lines, or 100 MB, would be seen in the memory of whatever keeps them.
    ["yes | head -c 30000000", "yes $(printf 'x%.0s' {1..999}) | head -c 100000000"],
    ids=["short-lines", "long-lines"],
)
@pytest.mark.timeout(900)
def test_output_far_above_the_limit_is_cut_in_flat_memory(own_hub: RunningHub, script: str) -> None:
    client = HubClient(own_hub)
    warm_up(client)
    parts = {own_hub.process.pid: "launcher"} | descendants(own_hub.process.pid)
    for pid in parts:
        with suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
    before = {pid: resident_kib(pid) for pid in parts}
    task_id = client.create_task()
    client.execute(task_id, script)
    # A reader of the live log must not cost memory either.
    with log_stream(client, task_id) as frames:
        until(frames, lambda frame: frame.event == "log")
    try:
        end = client.wait_for_end(task_id, within_s=700)
    finally:
        growth = {
            line[:100]: peak_kib(pid) - before[pid] for pid, line in parts.items() if Path(f"/proc/{pid}").exists()
        }
        print({line[-60:]: f"{kib // 1024} MiB" for line, kib in growth.items()})  # noqa: T201 - shown where it fails
    assert (end["execution_event"], end["exit_code"]) == ("completed", 0)
    assert max(growth.values()) < GROWTH_KIB
    status = client.status(task_id)
    assert status["log_truncated"] is True
    (last,) = client.log(task_id, 1)
    assert last["line"].startswith("[TaskHub: the log was cut here: ")
    assert last["n"] == status["log_lines"]
    stored = own_hub.data_dir / "files" / status["log_file"]
    assert stored.stat().st_size < 2 * 10_485_760
