"""Windows of a log: from a line on, with a text, the whole as text; while it runs and afterwards."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis
from rest_framework.test import APIClient

from taskhub import jobs
from taskhub.executions import log_reading, log_times
from taskhub.models import Execution

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices, pytest.mark.usefixtures("sandboxes")]

GATE = "until [ -e ~/go ]; do sleep 0.05; done"


def finish(execution_id: str) -> None:
    until = time.monotonic() + 60
    while Execution.objects.get(pk=execution_id).is_active:
        assert time.monotonic() < until
        jobs.execution_end(execution_id)
        Execution.objects.filter(pk=execution_id, status="running").update(lease_until=None)


@pytest.fixture
def run(execute: Any) -> Any:
    def run(script: str, **body: Any) -> str:
        queued = execute(script, **body)
        jobs.execution_start(queued["execution_id"])
        finish(queued["execution_id"])
        return f"/api/exec/logs/{queued['task_id']}"

    return run


def numbers(answer: Any) -> list[int]:
    assert answer.status_code == 200, answer.content
    return [line["n"] for line in answer.json()["lines"]]


def text_of(answer: Any) -> bytes:
    return b"".join(answer.streaming_content)


def test_all_of_twenty_thousand_lines_are_reached(run: Any, api: APIClient) -> None:
    """Search and download once reached the last 3,000 and 10,000 lines.

    The script waits before its last line: between the two streams there is no order.
    """
    address = run("seq 20000; sleep 1; echo Überall >&2")
    window = api.get(f"{address}?from=4999&limit=3")
    assert [(line["n"], line["line"]) for line in window.json()["lines"]] == [
        (4999, "4999"),
        (5000, "5000"),
        (5001, "5001"),
    ]
    assert window.json()["next"] == 5002
    assert all(line["timestamp"].startswith("20") for line in window.json()["lines"])
    found = api.get(f"{address}?q=777").json()
    assert [line["n"] for line in found["lines"]] == [n for n in range(20_001) if "777" in str(n)]
    assert found["next"] is None
    assert [line["line"] for line in api.get(f"{address}?q=UBERALL").json()["lines"]] == ["Überall"]
    whole = api.get(f"{address}/raw")
    assert text_of(whole) == b"".join(b"%d\n" % n for n in range(1, 20_001)) + "Überall\n".encode()
    assert whole["Content-Type"] == "text/plain; charset=utf-8"


def test_windows_and_pages_of_a_search_together_are_the_log(run: Any, api: APIClient, monkeypatch) -> None:
    address = run("seq 300")
    seen, start = [], 1
    while start is not None:
        answer = api.get(f"{address}?from={start}&limit=77")
        seen += numbers(answer)
        start = answer.json()["next"]
    assert seen == list(range(1, 301))
    monkeypatch.setattr(log_reading, "SEARCH_CHARS", 1)  # each request looks at one block alone
    seen, start, requests = [], 1, 0
    while start is not None:
        answer = api.get(f"{address}?from={start}&q=9&limit=5")
        seen += numbers(answer)
        start = answer.json()["next"]
        requests += 1
    assert seen == [n for n in range(1, 301) if "9" in str(n)]
    assert requests > 2
    monkeypatch.setattr(log_reading, "ANSWER_CHARS", 1)
    assert numbers(api.get(f"{address}?from=7")) == [7]  # one line at least


def test_search_counts_the_whole_log_and_names_lines(run: Any, api: APIClient) -> None:
    address = run("seq 5000; printf '\\033[31mErr\\033[0mor: bad\\n'; sleep 1; echo to stderr >&2")
    found = api.get(f"{address}/search?q=499").json()
    assert (found["count"], found["next"], found["lines"]) == (15, None, 5002)
    assert found["matches"] == [n for n in range(1, 5001) if "499" in str(n)]
    few = api.get(f"{address}/search?q=9&from=4000&limit=2").json()
    assert (few["matches"], few["count"]) == ([4009, 4019], sum("9" in str(n) for n in range(4000, 5001)))
    (error,) = api.get(f"{address}/search?kind=error").json()["matches"]
    window = api.get(f"{address}?from={error}&limit=1").json()
    assert window["lines"][0]["line"].endswith("or: bad")
    assert api.get(f"{address}?q=error: bad").json()["lines"] == window["lines"]
    (of_stderr,) = api.get(f"{address}/search?kind=stderr").json()["matches"]
    assert {error, of_stderr} == {5001, 5002}


def test_windows_beyond_the_end_are_empty(run: Any, api: APIClient) -> None:
    address = run("echo one")
    assert api.get(f"{address}?from=2").json() | {"execution_id": "", "log_file": ""} == {
        "execution_id": "",
        "status": "completed",
        "log_file": "",
        "lines": [],
        "next": None,
    }
    assert api.get(f"{address}?from=1&limit=1").json()["next"] is None
    assert api.get(address).json()["next"] is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("tail=5&from=1", "tail"),
        ("tail=5&q=x", "tail"),
        ("from=0", "from"),
        ("limit=10001", "limit"),
        ("limit=0", "limit"),
        ("q=", "q"),
        ("q=" + "x" * 201, "q"),
        ("upto=7", "upto"),
    ],
)
def test_wrong_window_is_refused(api: APIClient, query: str, field: str) -> None:
    task = api.post("/api/tasks/", {"title": "t"}, format="json").json()
    answer = api.get(f"/api/exec/logs/{task['id']}?{query}")
    assert answer.status_code == 400
    assert field in answer.json()["error"]["details"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "q"),
        ("q=", "q"),
        ("q=" + "x" * 201, "q"),
        ("q=x&kind=error", "q"),
        ("kind=warning", "kind"),
        ("q=x&limit=10001", "limit"),
        ("q=x&from=0", "from"),
        ("q=x&tail=5", "tail"),
    ],
)
def test_wrong_search_is_refused(api: APIClient, query: str, field: str) -> None:
    task = api.post("/api/tasks/", {"title": "t"}, format="json").json()
    answer = api.get(f"/api/exec/logs/{task['id']}/search?{query}")
    assert answer.status_code == 400
    assert field in answer.json()["error"]["details"]


PARTS = {
    "bytes=0-3": (0, 4),
    "bytes=4-": (4, 16),
    "bytes=-3": (13, 16),
    "bytes=-100": (0, 16),
    "bytes=15-900": (15, 16),
    "Bytes= 2 - 2 ": (2, 3),
}


def test_ranges_count_the_bytes_of_the_masked_text(run: Any, api: APIClient) -> None:
    address = run('echo "a $T z"; echo äöü; echo', env={"T": {"value": "hunter2-x", "secret": True}})
    text = "a *** z\näöü\n\n".encode()
    for asked, (start, end) in PARTS.items():
        answer = api.get(f"{address}/raw", headers={"Range": asked})
        assert answer.status_code == 206, asked
        assert text_of(answer) == text[start:end]
        assert answer["Content-Range"] == f"bytes {start}-{end - 1}/{len(text)}"
        assert (answer["Accept-Ranges"], answer["Content-Length"]) == ("bytes", str(end - start))
    for asked in ["bytes=16-", "bytes=900-", "bytes=-0"]:
        answer = api.get(f"{address}/raw", headers={"Range": asked})
        assert answer.status_code == 416, asked
        assert answer["Content-Range"] == "bytes */16"
        assert answer.json()["error"]["code"] == "range_not_satisfiable"
    for asked in ["bytes=2-1", "bytes=-", "bytes=0-1,3-4", "lines=1-2", "bytes=x-1", ""]:
        answer = api.get(f"{address}/raw", headers={"Range": asked})
        assert (answer.status_code, text_of(answer)) == (200, text), asked


def test_worker_that_takes_over_keeps_the_times_of_the_first(execute: Any, api: APIClient, settings) -> None:
    queued = execute("echo one; echo two; sleep 0.1; echo three")
    jobs.execution_start(queued["execution_id"])
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.rpush(f"taskhub:log-times:{queued['execution_id']}", "2 1700000002000", "1 1700000001000")
    finish(queued["execution_id"])
    lines = api.get(f"/api/exec/logs/{queued['task_id']}").json()["lines"]
    assert [line["timestamp"] for line in lines[:2]] == ["2023-11-14T22:13:21Z", "2023-11-14T22:13:22Z"]
    assert lines[2]["timestamp"] > "2026"


def test_log_is_kept_while_redis_is_away(execute: Any, api: APIClient, monkeypatch) -> None:
    queued = execute("echo one")
    jobs.execution_start(queued["execution_id"])
    away = redis.Redis.from_url("redis://127.0.0.1:9")
    monkeypatch.setattr(log_times, "redis_client", lambda **_: away)
    finish(queued["execution_id"])
    assert [line["line"] for line in api.get(f"/api/exec/logs/{queued['task_id']}").json()["lines"]] == ["one"]


def test_range_of_another_text_is_the_whole(run: Any, api: APIClient) -> None:
    address = run("echo 12345")
    etag = api.get(f"{address}/raw")["ETag"]
    part = api.get(f"{address}/raw", headers={"Range": "bytes=0-0", "If-Range": etag})
    whole = api.get(f"{address}/raw", headers={"Range": "bytes=0-0", "If-Range": '"another"'})
    assert (part.status_code, whole.status_code) == (206, 200)


def test_head_says_how_long_the_log_is(run: Any, api: APIClient) -> None:
    address = run("echo 12345")
    answer = api.head(f"{address}/raw", headers={"Accept": "text/plain"})
    assert (answer.status_code, answer["Content-Length"], answer.content) == (200, "6", b"")


def test_log_that_is_empty_has_no_range(run: Any, api: APIClient) -> None:
    address = run("true")
    assert (api.get(f"{address}/raw").status_code, text_of(api.get(f"{address}/raw"))) == (200, b"")
    assert api.get(f"{address}/raw", headers={"Range": "bytes=0-"})["Content-Range"] == "bytes */0"


def test_running_log_has_windows_too(execute: Any, api: APIClient) -> None:
    queued = execute(f"seq 600; printf 'name? '; {GATE}")
    jobs.execution_start(queued["execution_id"])
    address = f"/api/exec/logs/{queued['task_id']}"
    until = time.monotonic() + 20
    while not (lines := api.get(f"{address}?from=599").json()["lines"]) or "partial" not in lines[-1]:
        assert time.monotonic() < until
    window = api.get(f"{address}?from=599").json()
    assert [(line["n"], line["line"], line.get("partial")) for line in window["lines"]] == [
        (599, "599", None),
        (600, "600", None),
        (601, "name? ", True),
    ]
    assert window["next"] == 601  # the unfinished line comes again
    found = api.get(f"{address}?q=77").json()
    assert [line["n"] for line in found["lines"]] == [n for n in range(601) if "77" in str(n)]
    assert found["next"] == 601  # it may go on
    assert api.get(f"{address}?from=2&limit=2").json()["next"] == 4
    counted = api.get(f"{address}/search?q=77").json()
    assert (counted["matches"], counted["next"], counted["lines"]) == ([line["n"] for line in found["lines"]], 601, 600)
    assert api.get(address).json()["next"] == 601
    assert api.head(f"{address}/raw")["Content-Length"] == str(sum(len(str(n)) + 1 for n in range(1, 601)))
    api.post(f"/api/exec/stop/{queued['task_id']}")
    finish(queued["execution_id"])
