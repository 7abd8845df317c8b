"""What is measured: nothing lost while the database is away, added up over processes, shown on the dashboard."""

from __future__ import annotations

from datetime import timedelta
from threading import Thread
from typing import Any

import pytest
from celery import signals
from daytona import DaytonaError, DaytonaNotFoundError
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from sandboxes.errors import SandboxError
from sandboxes.gateway.translation import translated
from taskhub import jobs
from taskhub.models import Heartbeat, MetricName, MetricSample
from taskhub.observability import heartbeat, metrics_store
from taskhub.observability.heartbeat import heartbeat_ages
from taskhub.observability.metrics_store import Meter, note_heartbeat
from taskhub.selectors.dashboard import measured, window_named

pytestmark = pytest.mark.django_db
POLL = MetricName.POLL_MS


@pytest.fixture(autouse=True)
def own_meter(monkeypatch: pytest.MonkeyPatch) -> Meter:
    """Nothing of other tests is in it."""
    made = Meter()
    for module in (
        "taskhub.observability.metrics_store",
        "taskhub.observability.heartbeat",
        "sandboxes.gateway.translation",
        "taskhub.services.executions",
    ):
        monkeypatch.setattr(f"{module}.meter", made)
    return made


def rows() -> list[tuple[str, str, int, float, float]]:
    return list(
        MetricSample.objects.order_by("name", "label", "id").values_list("name", "label", "count", "total", "most")
    )


def test_measurements_are_summed_in_one_row(own_meter: Meter) -> None:
    def measure() -> None:
        for value in range(1, 501):
            own_meter.add(POLL, value, "status")

    threads = [Thread(target=measure) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    own_meter.add(POLL, 7, "sessions")
    own_meter.write()
    assert rows() == [("poll_ms", "sessions", 1, 7.0, 7.0), ("poll_ms", "status", 2000, 4 * 125_250.0, 500.0)]
    own_meter.write()
    assert len(rows()) == 2, "nothing was measured since"


def test_totals_are_raised_in_one_order_so_that_processes_do_not_deadlock() -> None:
    """Two transactions that lock the same rows in the same order wait for each other; in another order both fail."""
    labels = ["status", "sessions", "logs", "a", "z"]

    def order_of(these: list[str]) -> list[Any]:
        meter = Meter()
        for label in these:
            meter.count(MetricName.UPSTREAM_REQUESTS, label)
            meter.add(POLL, 70, label)
        rows: list[Any] = []

        def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            if many:
                rows.extend(row[:3] for row in params)
            return execute(sql, params, many, context)

        with connection.execute_wrapper(note):
            meter.write()
        return rows

    first, second = order_of(labels), order_of(labels[::-1])
    assert len(first) == 15, "two measures, and one of them up to its bound"
    assert first == second == sorted(first)


def test_sums_are_kept_while_the_database_is_away(own_meter: Meter, monkeypatch) -> None:
    def away(_: Any) -> None:
        own_meter.add(POLL, 30, "status")  # another thread measures meanwhile
        raise OperationalError

    own_meter.add(POLL, 10, "status")
    with monkeypatch.context() as patched:
        patched.setattr(MetricSample.objects, "bulk_create", away)
        with pytest.raises(OperationalError):
            own_meter.write()
    own_meter.add(POLL, 20, "status")
    own_meter.write()
    assert rows() == [("poll_ms", "status", 3, 60.0, 30.0)]


def test_processes_are_added_up_by_the_part_of_the_window() -> None:
    now = timezone.now()
    for ago, count, total, most in [(0, 1, 5, 5), (0, 2, 9, 8), (600, 1, 100, 100), (86_400, 1, 1, 1)]:
        at = now - timedelta(seconds=ago)
        MetricSample.objects.create(at=at, name=POLL, label="status", count=count, total=total, most=most)
    window = window_named("hour")
    found = measured(window, POLL)
    assert (found.count["status"][-1], found.total["status"][-1], found.most["status"][-1]) == (3, 14, 8)
    assert sum(found.total["status"]) == 114
    assert found.total["status"][-11] == 100
    assert measured(window, MetricName.UPSTREAM_REQUESTS).count == {}


def test_requests_to_daytona_are_counted_by_how_they_were_answered(own_meter: Meter) -> None:
    for error in (DaytonaError("", status_code=503), DaytonaNotFoundError(""), DaytonaError(""), TimeoutError()):
        with pytest.raises(SandboxError), translated("sandbox"):
            raise error
    with translated("sandbox"):
        pass
    own_meter.write()
    assert {label: count for _, label, count, _, _ in rows()} == {"503": 1, "404": 1, "none": 2, "2xx": 1}


def test_a_finished_job_is_a_heartbeat_and_writes_due_metrics(own_meter: Meter, monkeypatch) -> None:
    monkeypatch.setattr(heartbeat, "_worker", worker := heartbeat._Pulse("worker"))
    own_meter.add(POLL, 1)
    worker.beat(sender=jobs.events_trim)
    assert set(heartbeat_ages()) == {"worker"}
    assert rows() == [], "it is not due"
    monkeypatch.setattr(metrics_store, "EVERY_S", 0.0)
    Heartbeat.objects.all().delete()
    worker.beat()
    assert not Heartbeat.objects.exists(), "once in five seconds is enough"
    worker._noted_at -= 5
    worker.beat()
    assert rows() == [("poll_ms", "", 1, 1.0, 1.0)]
    assert Heartbeat.objects.exists()


def test_a_heartbeat_that_cannot_be_stored_fails_no_job(monkeypatch, caplog) -> None:
    def away(_: str) -> None:
        raise OperationalError

    monkeypatch.setattr(heartbeat, "note_heartbeat", away)
    heartbeat._Pulse("worker").beat()
    assert "cannot be stored" in caplog.text


def test_celery_signals_reach_the_heartbeat() -> None:
    uid = "taskhub.observability.heartbeat"
    assert any(uid in str(key) for key, _ in signals.task_postrun.receivers)
    assert any(uid in str(key) for key, _ in signals.beat_init.receivers)


def test_the_dashboard_tells_beat_and_workers_apart(operator: User) -> None:
    client = Client()
    client.force_login(operator)
    assert client.get("/admin/").content.decode().count("never seen") == 2
    note_heartbeat("beat")
    Heartbeat.objects.create(pk="worker", at=timezone.now() - timedelta(seconds=40))
    MetricSample.objects.create(at=timezone.now(), name=MetricName.STREAM_SECONDS, count=5, total=600, most=120)
    MetricSample.objects.create(at=timezone.now(), name=POLL, label="status", count=2, total=90, most=80)
    MetricSample.objects.create(
        at=timezone.now(), name=MetricName.UPSTREAM_REQUESTS, label="502", count=3, total=3, most=1
    )
    page = client.get("/admin/?last=day").content.decode()
    assert "silent for 40 s" in page
    assert "alive" in page
    assert "never seen" not in page
    for words in ("Open streams, on average", "of status", "status 502"):
        assert words in page


def test_old_measurements_are_deleted() -> None:
    for days in (0, 1, 3):
        MetricSample.objects.create(at=timezone.now() - timedelta(days=days), name=POLL, count=1, total=1, most=1)
    jobs.measures_trim()
    assert MetricSample.objects.count() == 2
