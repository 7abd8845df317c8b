"""Slow and dead clients, limits, maximum age, and a past that is long: on a real web process."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.processes import wait_until
from tests.servers.hubs import Installation
from tests.streaming import open_stream, until


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path)
    yield made
    made.end()


@contextmanager
def stalled(address: str, count: int) -> Iterator[list[socket.socket]]:
    """Clients that ask for the stream and then take no byte."""
    host, port = address.removeprefix("http://").split(":")
    sockets = []
    for _ in range(count):
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.connect((host, int(port)))
        made.sendall(b"GET /api/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        sockets.append(made)
    try:
        yield sockets
    finally:
        for made in sockets:
            made.close()


def resident_mib(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def publish(hub: Installation, count: int, size: int) -> None:
    """`count` events of about `size` bytes, appended in one go by another process."""
    hub.manage(
        "shell",
        "--no-imports",
        "-c",
        f"""
from django.db import transaction
from taskhub.auth.actor import SYSTEM
from taskhub.services.tasks import task_create, task_update
task = task_create(actor=SYSTEM, title="large")
for start in range(0, {count}, 500):
    with transaction.atomic():
        for n in range(start, min(start + 500, {count})):
            task_update(actor=SYSTEM, task_id=task.pk, description=str(n).ljust({size}, "."))
""",
    )


def test_stalled_clients_cost_little_and_are_dropped_and_a_live_one_misses_nothing(installation: Installation) -> None:
    installation.start_web("one")
    address = installation.address("one")
    with open_stream(f"{address}/api/events/stream", timeout_s=60) as frames:
        next(frames)
        with stalled(address, 10):
            wait_until(lambda: installation.status("one")["connected_clients"] == 11, "all are connected")
            before = resident_mib(installation.processes["one"].pid)
            publish(installation, 1000, 60_000)
            seen = until(frames, lambda frame: frame.json()["data"].get("version") == 1001)
            assert [int(frame.id.partition(":")[2]) for frame in seen] == list(range(1, 1002))
            assert resident_mib(installation.processes["one"].pid) - before < 20
            lag = installation.status("one")["slowest_lag_events"]
            assert isinstance(lag, int)
            assert lag > 100
            wait_until(lambda: installation.status("one")["connected_clients"] == 1, "they are dropped", 60)
    counters = installation.status("one")["counters"]
    assert isinstance(counters, dict)
    assert counters["stalled"] == 10


def test_twenty_thousand_missed_events_are_replayed_in_pages(installation: Installation) -> None:
    publish(installation, 20_000, 3000)
    installation.start_web("one")
    with open_stream(f"{installation.address('one')}/api/events/stream") as frames:
        assert next(frames).id == "tasks:20001"
        before = resident_mib(installation.processes["one"].pid)
    headers = {"Last-Event-ID": "tasks:0"}
    with open_stream(f"{installation.address('one')}/api/events/stream", headers=headers) as frames:
        seen = until(frames, lambda frame: frame.id == "tasks:20001")
    # `connected` carries the id that was resumed from.
    assert [int(frame.id.partition(":")[2]) for frame in seen] == list(range(20_002))
    assert resident_mib(installation.processes["one"].pid) - before < 20


def test_beyond_the_limits_a_stream_is_refused_with_words(installation: Installation) -> None:
    installation.env |= {"TASKHUB_STREAM_LIMIT": "3", "TASKHUB_STREAM_LIMIT_PER_CALLER": "2"}
    installation.start_web("one")
    stream = f"{installation.address('one')}/api/events/stream"
    with open_stream(stream) as first, open_stream(stream) as second:
        next(first)
        next(second)
        refused = httpx.get(stream)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_streams_of_caller")
        assert 1 <= int(refused.headers["Retry-After"]) <= 5
        with open_stream(stream, headers=installation.headers) as third:
            next(third)
            full = httpx.get(stream, headers=installation.headers)
            assert (full.status_code, full.json()["error"]["code"]) == (503, "too_many_streams")
            assert 1 <= int(full.headers["Retry-After"]) <= 5
    wait_until(lambda: installation.status("one")["connected_clients"] == 0, "all are closed")
    with open_stream(stream) as again:
        assert next(again).json()["event"] == "connected"


def test_a_stream_of_the_maximum_age_is_asked_to_come_back(installation: Installation) -> None:
    installation.env |= {"TASKHUB_STREAM_MAX_AGE_S": "10"}
    installation.start_web("one")
    with open_stream(f"{installation.address('one')}/api/events/stream") as frames:
        seen = [frame.json() for frame in frames if frame.data]
    assert [event["event"] for event in seen] == ["connected", "disconnected"]
    assert seen[1]["data"]["reason"] == "recycled"
    assert seen[1]["data"]["reconnect_in_ms"] > 0


def test_a_process_killed_between_commit_and_notification_delays_its_event_and_loses_nothing(
    installation: Installation,
) -> None:
    installation.start_web("one")
    with open_stream(f"{installation.address('one')}/api/events/stream") as frames:
        next(frames)
        killed = installation.start(
            "writer",
            "-c",
            """
import os, signal, django
django.setup()
from taskhub.events import publish
publish.notify = lambda message: os.kill(os.getpid(), signal.SIGKILL)
from taskhub.auth.actor import SYSTEM
from taskhub.services.tasks import task_create
task_create(actor=SYSTEM, title="its writer died")
""",
        )
        assert killed.wait() == -9
        assert next(frames).json()["data"]["title"] == "its writer died"


def test_without_redis_writes_succeed_and_streams_follow_the_table(installation: Installation) -> None:
    installation.start_web("one")
    address = installation.address("one")
    with open_stream(f"{address}/api/events/stream") as frames:
        next(frames)
        assert httpx.get(f"{address}/readyz").json()["parts"]["redis"] == "ok"
        installation.processes["redis"].end()
        for n in range(50):
            answer = httpx.post(f"{address}/api/tasks/", json={"title": str(n)}, headers=installation.headers)
            assert answer.status_code == 201
        seen = until(frames, lambda frame: frame.json()["data"]["title"] == "49")
        assert [frame.json()["data"]["title"] for frame in seen] == [str(n) for n in range(50)]
        wait_until(lambda: httpx.get(f"{address}/readyz").json()["parts"]["redis"] != "ok", "it is noticed")
        health = httpx.get(f"{address}/readyz").json()
        assert health["status"] == "degraded"
        assert health["parts"] | {"redis": "does not answer", "broker": "does not answer"} == health["parts"]
        assert installation.status("one")["status"] == "degraded"
        installation.start_redis()
        wait_until(lambda: installation.status("one")["status"] == "ok", "it hears Redis again")


def test_status_tells_of_all_processes(installation: Installation) -> None:
    installation.start_web("one")
    installation.start_web("two")
    with (
        open_stream(f"{installation.address('one')}/api/events/stream") as first,
        open_stream(f"{installation.address('two')}/api/events/stream?lastEventId=tasks:0") as second,
    ):
        next(first)
        next(second)
        for name in ("one", "two"):
            wait_until(lambda name=name: installation.status(name)["connected_clients"] == 2, f"{name} knows of both")
        found = installation.status("one")
        assert found["processes"] == 2
        assert found["clients_per_channel"] == {"tasks": 2}
        counters = found["counters"]
        assert isinstance(counters, dict)
        assert counters["resumes"] == 1


def test_a_burst_of_connections_does_not_slip_through_the_limit(installation: Installation) -> None:
    installation.env |= {"TASKHUB_STREAM_LIMIT": "5"}
    installation.start_web("one")
    with stalled(installation.address("one"), 40) as sockets:
        opened = sum(made.recv(15).endswith(b"200 OK") for made in sockets)
    assert opened == 5
    wait_until(lambda: installation.status("one")["connected_clients"] == 0, "all are forgotten")


def test_a_client_that_leaves_behind_a_second_request_is_noticed_by_its_keepalives(installation: Installation) -> None:
    # uvicorn stops reading behind the second request, so it is the second keepalive that meets a closed connection.
    installation.start_web("one")
    host, port = installation.address("one").removeprefix("http://").split(":")
    for _ in range(5):
        with socket.create_connection((host, int(port))) as made:
            address = "/api/events/stream?task_id=0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f"
            made.sendall(f"GET {address} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert made.recv(12) == b"HTTP/1.1 200"
            made.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_until(lambda: installation.status("one")["connected_clients"] == 0, "all are forgotten", 120)
    assert not [line for line in installation.processes["one"].output if "never retrieved" in line]
