"""`/readyz`: what each part says, and what the hub makes of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from kombu import Connection

from taskhub.models import Heartbeat
from taskhub.observability import health
from taskhub.observability.heartbeat import ages
from taskhub.observability.metrics_store import note_heartbeat
from tests.processes import free_port

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
    parts = dict.fromkeys(["database", "redis", "broker", "beat", "worker"], "ok")
    assert readyz() == {"status": "ok", "parts": parts}


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
    monkeypatch.setattr(health.current_app, "connection_for_write", lambda: Connection(away))
    found = readyz()
    assert (found["status"], found["parts"]["redis"], found["parts"]["broker"]) == ("degraded", "ok", "does not answer")


def test_an_unreachable_database_is_failing(jobs_are_done: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Any:
        raise OperationalError

    monkeypatch.setattr(connection, "cursor", away)
    assert readyz(503) == {"status": "failing", "parts": {"database": "does not answer"}}


def test_healthz_is_independent_of_the_parts(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    monkeypatch.setattr(connection, "cursor", None)
    answer = Client().get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_readiness_is_cached_for_a_second(jobs_are_done: None, monkeypatch: pytest.MonkeyPatch) -> None:
    health.remembered.forget()
    asked: list[None] = []
    monkeypatch.setattr(health, "redis_answers", lambda: not asked.append(None))
    for _ in range(3):
        assert Client().get("/readyz").json()["status"] == "ok"
    assert len(asked) == 1
    health.remembered.forget()
    assert readyz()["status"] == "ok"
    assert len(asked) == 2
