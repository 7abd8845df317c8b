"""The lines of a real web process and a real worker, as production writes them."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import Process, free_port, wait_until
from tests.servers.hubs import Installation, ProductionInstallation

CELERY = ("-m", "celery", "--app", "config", "--quiet")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Installation]:
    """Nothing listens where Daytona should be, so that an execution is something to write about."""
    installation = ProductionInstallation(tmp_path)
    installation.env |= {
        "DAYTONA_API_KEY": "dtn_0123456789",
        "DAYTONA_API_URL": f"http://127.0.0.1:{free_port()}/api",
    }
    yield installation
    installation.end()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path)
    yield installation
    installation.end()


def lines_of(process: Process) -> list[dict[str, Any]]:
    """All of them, each of which must be an object."""
    found = [json.loads(line) for line in process.output]
    assert all({"timestamp", "level", "logger", "event"} <= line.keys() for line in found)
    return found


def test_every_line_is_json_and_an_executions_lines_bear_the_id_of_its_request(hub: Installation) -> None:
    worker = hub.start("worker", *CELERY, "worker", "--pool", "threads", "--concurrency", "2", "--loglevel", "INFO")
    hub.start_web("one")
    worker.wait_for_line("ready")
    beat = hub.start("beat", *CELERY, "beat", "--pidfile=", "--loglevel", "INFO")
    address = hub.address("one")
    headers = {**hub.headers, **hub.base_headers}
    task_id = httpx.post(f"{address}/api/tasks/", json={"title": "t"}, headers=headers).json()["id"]
    answer = httpx.post(
        f"{address}/api/exec/{task_id}/",
        json={"script_content": "true"},
        headers={**headers, "X-Request-ID": "my-request.1"},
    )
    assert answer.headers["X-Request-ID"] == "my-request.1"
    execution_id = answer.json()["execution_id"]
    assert httpx.get(f"{address}/api/nothing?a=hunter22", headers=headers).status_code == 404
    assert httpx.get(f"{address}/login/", headers={"Host": "evil.example"}).status_code == 400
    assert httpx.get(f"{address}/healthz").status_code == 200

    worker.wait_for_line("cannot start yet")
    beat.wait_for_line("Starting")
    for process in (hub.processes["one"], worker, beat):
        process.signal(signal.SIGTERM)
        process.wait()

    first = next(line for line in lines_of(worker) if "cannot start yet" in line["event"])
    assert first.pop("timestamp").endswith("Z")
    assert first.pop("job_id")
    assert first == {
        "level": "warning",
        "logger": "taskhub.worker.starting",
        "event": f"execution {execution_id} cannot start yet: sandbox_unavailable",
        "request_id": "my-request.1",
        "user": "operator",
        "role": "operator",
        "door": "rest",
        "task_id": task_id,
        "execution_id": execution_id,
        "job": "taskhub.jobs.execution_start",
    }
    others = [line for line in lines_of(worker) if line.get("execution_id") not in {None, execution_id}]
    assert others == []
    assert lines_of(beat)

    web = lines_of(hub.processes["one"])
    told = [(line["method"], line["path"], line["status"]) for line in web if line["logger"] == "taskhub.requests"]
    assert told == [
        ("POST", "/api/tasks/", 201),
        ("POST", f"/api/exec/{task_id}/", 202),
        ("GET", "/api/nothing", 404),
        ("GET", "/login/", 400),
    ]
    assert [line["event"] for line in web if line["logger"] == "django.request"] == []
    foreign = [line for line in web if line["logger"].startswith("django.security")]
    assert [("exception" in line, "evil.example" in line["event"]) for line in foreign] == [(False, True)]
    text = "\n".join(hub.processes["one"].output)
    assert "hunter22" not in text
    assert hub.token not in text


def test_a_stream_is_told_of_at_its_end_and_the_hub_belongs_to_none(local: Installation) -> None:
    local.env["TASKHUB_LOG_FORMAT"] = "json"
    local.start_web("one")
    web = local.processes["one"]
    headers = {**local.headers, "X-Request-ID": "the-stream"}
    with httpx.stream("GET", f"{local.address('one')}/api/events/stream", headers=headers, timeout=90) as stream:
        assert stream.headers["X-Request-ID"] == "the-stream"
        lines = stream.iter_lines()  # the connection goes with them
        assert next(lines)
        wait_until(lambda: local.status("one")["redis"] is True, "the hub listens to Redis")
        # The shared listener logs it: not the first stream, which started it.
        local.processes["redis"].end()
        lost = json.loads(web.wait_for_line("Redis listener lost"))
    ended = json.loads(web.wait_for_line("GET /api/events/stream 200"))
    assert "request_id" not in lost
    assert "user" not in lost
    assert (ended["request_id"], ended["user"], ended["status"]) == ("the-stream", "operator", 200)


def test_as_text_there_are_no_lines_of_requests_and_a_wrong_form_does_not_start(local: Installation) -> None:
    local.start_web("one")
    address = local.address("one")
    assert httpx.get(f"{address}/api/tasks/").status_code == 200
    assert httpx.get(f"{address}/api/nothing", headers={"X-Request-ID": "one"}).status_code == 404
    web = local.processes["one"]
    refused = web.wait_for_line("/api/nothing")
    assert refused.endswith("INFO django.request: Not Found: /api/nothing request_id=one")
    assert "/api/tasks/" not in "\n".join(web.output)

    local.env["TASKHUB_LOG_FORMAT"] = "xml"
    failed = local.start("two", "-m", "uvicorn", "config.asgi:application", "--port", str(free_port()))
    failed.wait_for_line("TASKHUB_LOG_FORMAT must be plain or json, not 'xml'.")
    assert failed.wait() != 0
