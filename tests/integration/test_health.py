"""`/readyz`: what each part says, and what the hub makes of it."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from kombu import Connection

from config.launcher import redis_server
from taskhub.models import Heartbeat, WebhookEndpoint
from taskhub.observability import health, parts
from taskhub.observability.heartbeat import ages
from taskhub.observability.metrics_store import note_heartbeat
from taskhub.selectors.webhooks import webhooks_failing_now
from tests.processes import ROOT, Process, free_port, wait_for_redis

pytestmark = pytest.mark.django_db


@pytest.fixture
def jobs_are_done() -> None:
    for name in ("beat", "worker"):
        note_heartbeat(name)


def readyz(status: int = 200) -> dict[str, Any]:
    health.remembered.forget()
    ages.forget()  # the tests set the times of heartbeats back
    answer = Client().get("/readyz")
    assert answer.status_code == status
    return dict(answer.json())


def test_all_parts_ok(jobs_are_done: None) -> None:
    expected = dict.fromkeys(["database", "redis", "broker", "beat", "worker", "data"], "ok")
    assert readyz() == {"status": "ok", "parts": expected}


@pytest.mark.parametrize("name", ["beat", "worker"])
def test_a_missing_heartbeat_is_reported_with_its_age(jobs_are_done: None, name: str) -> None:
    Heartbeat.objects.filter(pk=name).update(at=timezone.now() - timedelta(seconds=14))
    assert readyz()["status"] == "ok"
    Heartbeat.objects.filter(pk=name).update(at=timezone.now() - timedelta(seconds=41))
    found = readyz()
    assert found["status"] == "degraded"
    assert {part: said for part, said in found["parts"].items() if said != "ok"} == {name: "silent for 41 s"}


def test_processes_that_never_ran_are_reported() -> None:
    assert readyz()["parts"] | {"beat": "never seen", "worker": "never seen"} == readyz()["parts"]


def test_an_unreachable_redis_is_degraded(jobs_are_done: None, settings: Any) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    found = readyz()
    assert (found["status"], found["parts"]["redis"], found["parts"]["broker"]) == ("degraded", "does not answer", "ok")


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_an_unreachable_broker_is_degraded(jobs_are_done: None, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    away = f"{scheme}://127.0.0.1:{free_port()}//"
    monkeypatch.setattr(parts.current_app, "connection_for_write", lambda: Connection(away))
    found = readyz()
    assert (found["status"], found["parts"]["redis"], found["parts"]["broker"]) == ("degraded", "ok", "does not answer")


def test_an_unreachable_database_is_failing(jobs_are_done: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Any:
        raise OperationalError

    monkeypatch.setattr(connection, "cursor", away)
    assert readyz(503) == {"status": "failing", "parts": {"database": "does not answer"}}


@pytest.fixture
def own_redis(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    """A Redis that a test may spoil, for notifications and as the broker."""
    path = tmp_path / "own.sock"
    process = Process(redis_server.command_line(redis_server.find_binary(), path), {})
    settings.REDIS_URL = f"unix://{path}"
    wait_for_redis(settings.REDIS_URL)
    broker = f"redis+socket://{path}?virtual_host=0"
    monkeypatch.setattr(parts.current_app, "connection_for_write", lambda: Connection(broker))
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        yield client
    process.end()


def test_a_redis_that_is_a_replica_is_named(jobs_are_done: None, own_redis: redis.Redis) -> None:
    assert readyz()["status"] == "ok"
    own_redis.replicaof("127.0.0.1", "1")
    found = readyz()
    assert found["status"] == "degraded"
    assert (found["parts"]["redis"], found["parts"]["broker"]) == ("read-only replica", "read-only replica")
    own_redis.replicaof("no", "one")
    assert readyz()["status"] == "ok"


def test_a_redis_without_memory_takes_no_writes(jobs_are_done: None, own_redis: redis.Redis) -> None:
    own_redis.config_set("maxmemory", "1")
    found = readyz()["parts"]
    assert (found["redis"], found["broker"]) == ("takes no writes", "takes no writes")


def test_a_little_space_is_a_full_disk(jobs_are_done: None, settings: Any) -> None:
    settings.TASKHUB_DATA_FREE_LEAST_BYTES = 2**60
    found = readyz()
    assert (found["status"], found["parts"]["data"][:11]) == ("degraded", "disk full (")


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_a_disk_that_is_full_is_told_as_one() -> None:
    """A file system of 256 KiB, filled."""
    look = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings.local"
import django
django.setup()
from pathlib import Path
from taskhub.observability.parts import data_folder
print(data_folder(Path("/mnt"), 0))
Path("/mnt/all").write_bytes(bytes(256 * 1024))
print(data_folder(Path("/mnt"), 0))
print(data_folder(Path("/mnt/all"), 0))
"""
    command = ["bwrap", "--dev-bind", "/", "/", "--size", "262144", "--tmpfs", "/mnt", sys.executable, "-c", look]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.splitlines() == ["ok", "disk full", "takes no writes"], done.stderr


@pytest.mark.django_db(transaction=True)
@pytest.mark.sqlite_suffices
def test_a_locked_database_takes_no_writes_and_is_told_so_soon(jobs_are_done: None) -> None:
    """By another process that holds SQLite's one place for a writer. Requests would wait for 20 s."""
    path = connection.settings_dict["NAME"]
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        found = readyz()
        took_s = time.monotonic() - began
        holder.execute("ROLLBACK")
    assert (found["status"], found["parts"]["database"]) == ("degraded", "takes no writes (locked)")
    assert took_s < 10
    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA busy_timeout").fetchone() == (20_000,)
    assert readyz()["parts"]["database"] == "ok"


@pytest.mark.parametrize(
    ("sqlstate", "told"),
    [("25006", "read-only replica"), ("53100", "disk full"), ("55P03", "takes no writes (locked)")],
)
def test_what_postgresql_refuses_is_told_by_its_reason(
    jobs_are_done: None, monkeypatch: pytest.MonkeyPatch, sqlstate: str, told: str
) -> None:
    def refuse(name: str) -> None:
        raise OperationalError("no") from psycopg.errors.lookup(sqlstate)("no")

    monkeypatch.setattr(parts, "note_heartbeat", refuse)
    found = readyz()
    assert (found["status"], found["parts"]["database"]) == ("degraded", told)


def test_figures_name_the_part_and_the_free_bytes(jobs_are_done: None, own_redis: redis.Redis) -> None:
    own_redis.replicaof("127.0.0.1", "1")
    health.remembered.forget()
    said = Client().get("/metrics").content.decode()
    assert 'taskhub_part_ok{part="broker"} 0.0' in said
    assert 'taskhub_part_ok{part="database"} 1.0' in said
    assert "taskhub_data_free_bytes" in said
    assert "taskhub_webhooks_failing 0.0" in said


def test_a_webhook_that_fails_now_is_a_figure() -> None:
    since = timezone.now() - timedelta(minutes=10)
    for failing_since, is_active in ((since, True), (since + timedelta(minutes=5), True), (since, False), (None, True)):
        WebhookEndpoint.objects.create(
            url="https://a.example/", sealed_secret="x", cursor=0, failing_since=failing_since, is_active=is_active
        )
    count, longest_s = webhooks_failing_now()
    assert count == 2
    assert 600 <= longest_s < 660


def test_healthz_is_independent_of_the_parts(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    monkeypatch.setattr(connection, "cursor", None)
    answer = Client().get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_readiness_is_cached_for_a_second(jobs_are_done: None, monkeypatch: pytest.MonkeyPatch) -> None:
    health.remembered.forget()
    asked: list[None] = []
    monkeypatch.setattr(parts, "notifications", lambda: asked.append(None) or "ok")
    for _ in range(3):
        assert Client().get("/readyz").json()["status"] == "ok"
    assert len(asked) == 1
    health.remembered.forget()
    assert readyz()["status"] == "ok"
    assert len(asked) == 2
