"""`/metrics` of real processes: each reports the whole installation, and Prometheus's own tool finds no error."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hubs import Installation

from tests.processes import wait_until
from tests.streaming import open_stream, until
from tests.unit.test_prometheus import samples


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path)
    yield made
    made.end()


def scrape(installation: Installation, name: str) -> str:
    answer = httpx.get(f"{installation.address(name)}/metrics")
    assert answer.status_code == 200
    return answer.text


def test_each_process_tells_of_all_and_what_one_counted_outlives_it(installation: Installation) -> None:
    installation.start_web("one")
    installation.start_web("two")
    address = installation.address("one")
    with (
        open_stream(f"{address}/api/events/stream") as first,
        open_stream(f"{installation.address('two')}/api/events/stream?lastEventId=tasks:0") as second,
    ):
        next(first)
        next(second)
        for n in range(5):
            body = {"title": f"number {n}"}
            assert httpx.post(f"{address}/api/tasks/", json=body, headers=installation.headers).status_code == 201
        for frames in (first, second):
            until(frames, lambda frame: "number 4" in frame.data)

        def told() -> bool:
            return all(
                samples(scrape(installation, name))["taskhub_stream_deliveries_total"] == 10
                and samples(scrape(installation, name))['taskhub_streams_open{kind="tasks"}'] == 2
                for name in ("one", "two")
            )

        wait_until(told, "both processes have written down what they counted")
        assert installation.status("two")["clients_per_channel"] == {"tasks": 2}
        found = samples(scrape(installation, "two"))
        assert found["taskhub_web_processes"] == 2
        assert found["taskhub_redis_heard"] == 1
        assert found["taskhub_streams_opened_total"] == 2
        assert found["taskhub_stream_resumes_total"] == 1
        assert found['taskhub_events_published_total{type="task_created"}'] == 5
        assert found['taskhub_http_request_duration_seconds_count{method="POST",status="201"}'] == 5
    # One that leaves in order writes down what it still holds.
    installation.processes.pop("one").end()
    found = samples(scrape(installation, "two"))
    assert found["taskhub_web_processes"] == 1
    assert sum(value for name, value in found.items() if name.startswith("taskhub_streams_closed_total")) >= 1
    assert found['taskhub_http_request_duration_seconds_count{method="POST",status="201"}'] == 5


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian's prometheus) is not installed")
def test_prometheus_finds_nothing_wrong(installation: Installation) -> None:
    installation.start_web("one")
    wait_until(lambda: "status=" in scrape(installation, "one"), "requests have been measured")
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=scrape(installation, "one"),
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
