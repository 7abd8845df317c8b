"""`/metrics`: totals of all processes that only grow, in Prometheus's format; for readers only."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from sandboxes.models import Sandbox
from taskhub import jobs
from taskhub.api.prometheus import HISTOGRAMS
from taskhub.auth.actor import SYSTEM
from taskhub.events.process_status import write_report
from taskhub.models import Execution, ExecutionStatus, MetricName, MetricSample, MetricTotal, Task
from taskhub.observability.metrics_store import BOUNDS, Meter, note_heartbeat
from taskhub.services.executions import Outcome, execution_finish
from taskhub.services.tasks import task_create
from tests.conftest import client_of, make_account

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def own_meter(monkeypatch: pytest.MonkeyPatch) -> Meter:
    """Nothing of other tests is in it."""
    made = Meter()
    for module in (
        "taskhub.observability.metrics_store",
        "taskhub.events.publish",
        "taskhub.services.executions",
        "taskhub.observability.request_metrics",
    ):
        monkeypatch.setattr(f"{module}.meter", made)
    return made


def samples(text: str | None = None) -> dict[str, float]:
    """Each sample by its name and labels, as `name{a="b"}`."""
    if text is None:
        answer = Client().get("/metrics")
        assert answer.status_code == 200
        assert answer["Content-Type"].startswith("text/plain; version=0.0.4")
        text = answer.content.decode()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            name = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert name not in found, name
            found[name] = sample.value
    return found


def test_a_new_hub_exports_all_counters() -> None:
    found = samples()
    for name in (
        'taskhub_events_published_total{type="task_created"}',
        'taskhub_executions_finished_total{outcome="lost"}',
        'taskhub_streams_open{kind="tasks"}',
        "taskhub_streams_opened_total",
        "taskhub_stream_deliveries_total",
        "taskhub_stream_overflows_total",
        "taskhub_web_processes",
    ):
        assert found[name] == 0


def test_events_and_ends_of_executions_are_counted_once_they_are_committed(own_meter: Meter) -> None:
    task = task_create(actor=SYSTEM, title="counted")
    for ran_s, status in ((3, ExecutionStatus.RUNNING), (None, ExecutionStatus.QUEUED)):
        started = None if ran_s is None else timezone.now() - timedelta(seconds=ran_s)
        execution = Execution.objects.create(
            task=task, status=status, timeout_s=9, session_name="s", started_at=started, command_id="c"
        )
        assert execution_finish(execution=execution, outcome=Outcome(ExecutionStatus.FAILED, exit_code=1))
        assert not execution_finish(execution=execution, outcome=Outcome(ExecutionStatus.LOST))
    own_meter.write()
    found = samples()
    assert found['taskhub_events_published_total{type="task_created"}'] == 1
    assert found['taskhub_events_published_total{type="execution_event"}'] == 2
    assert found['taskhub_executions_finished_total{outcome="failed"}'] == 2
    assert found['taskhub_executions_finished_total{outcome="lost"}'] == 0
    # The one that never started ended, but did not run.
    assert found['taskhub_execution_duration_seconds_count{outcome="failed"}'] == 1
    assert found['taskhub_execution_duration_seconds_bucket{le="1.0",outcome="failed"}'] == 0
    assert found['taskhub_execution_duration_seconds_bucket{le="5.0",outcome="failed"}'] == 1
    assert found['taskhub_execution_duration_seconds_bucket{le="3600.0",outcome="failed"}'] == 1
    assert 3 <= found['taskhub_execution_duration_seconds_sum{outcome="failed"}'] < 30


def test_what_rolls_back_is_not_counted(own_meter: Meter) -> None:
    with transaction.atomic():
        task_create(actor=SYSTEM, title="never was")
        transaction.set_rollback(True)
    own_meter.write()
    assert samples()['taskhub_events_published_total{type="task_created"}'] == 0


def test_a_value_is_in_its_own_bucket_and_all_above() -> None:
    own = Meter()
    for value in (5, 5.1, 4999, 5000.1):
        own.add(MetricName.REQUEST_MS, value, "GET 200")
    own.write()
    found = samples()
    buckets = {
        bound: found[f'taskhub_http_request_duration_seconds_bucket{{le="{bound}",method="GET",status="200"}}']
        for bound in ("0.005", "0.01", "0.05", "1.0", "5.0", "+Inf")
    }
    assert buckets == {"0.005": 1, "0.01": 2, "0.05": 2, "1.0": 2, "5.0": 3, "+Inf": 4}
    assert found['taskhub_http_request_duration_seconds_sum{method="GET",status="200"}'] == pytest.approx(10.0092)


def test_processes_that_write_at_once_lose_nothing() -> None:
    ready = Barrier(4)

    def write() -> None:
        own = Meter()
        ready.wait()
        try:
            for n in range(25):
                own.count(MetricName.EVENTS, "task_created")
                own.count(MetricName.STREAM_ENDS, f"outcome {n % 5}", 2)
                own.write()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        for process in [pool.submit(write) for _ in range(4)]:
            process.result()
    found = samples()
    assert found['taskhub_events_published_total{type="task_created"}'] == 100
    assert sum(value for name, value in found.items() if name.startswith("taskhub_streams_closed_total")) == 200
    assert MetricTotal.objects.count() == 6


def test_totals_stay_when_what_is_kept_over_time_goes() -> None:
    own = Meter()
    own.add(MetricName.POLL_MS, 40, "status")
    own.count(MetricName.EVENTS, "task_created")
    own.write()
    assert list(MetricSample.objects.values_list("name", flat=True)) == [MetricName.POLL_MS], "only what is drawn"
    MetricSample.objects.update(at=timezone.now() - timedelta(days=9))
    jobs.measures_trim()
    assert not MetricSample.objects.exists()
    assert samples()['taskhub_poll_duration_seconds_count{poll="status"}'] == 1


def test_gauges_have_current_values() -> None:
    clients = {"tasks": 3, "execution-1-log": 1, "execution-2-log": 1, "sandbox-x-logs": 2, "mcp": 1}
    write_report({"clients": clients, "counters": {}, "lag_events": 9, "lag_s": 8.5, "redis": False})
    Sandbox.objects.create(id="box", state="started", seen_at=timezone.now())
    Execution.objects.create(
        task=Task.objects.create(title="t"), status=ExecutionStatus.RUNNING, timeout_s=1, session_name="s"
    )
    note_heartbeat("beat")
    found = samples()
    wanted = {
        'taskhub_streams_open{kind="tasks"}': 3,
        'taskhub_streams_open{kind="execution-log"}': 2,
        'taskhub_streams_open{kind="sandbox"}': 2,
        'taskhub_streams_open{kind="mcp"}': 1,
        "taskhub_web_processes": 1,
        "taskhub_stream_lag_events": 9,
        "taskhub_stream_lag_seconds": 8.5,
        "taskhub_redis_heard": 0,
        'taskhub_sandboxes{state="started"}': 1,
        'taskhub_executions_active{status="running"}': 1,
        'taskhub_executions_active{status="queued"}': 0,
        'taskhub_executions_waiting{reason="capacity"}': 0,
        'taskhub_executions_waiting{reason="limit"}': 0,
        'taskhub_executions_waiting{reason="paused"}': 0,
        "taskhub_execution_longest_wait_seconds": 0,
    }
    assert {name: found[name] for name in wanted} == wanted
    assert 0 <= found['taskhub_heartbeat_age_seconds{process="beat"}'] < 60
    assert 'taskhub_heartbeat_age_seconds{process="worker"}' not in found


def test_openmetrics_by_accept_header() -> None:
    answer = Client().get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer["Content-Type"].startswith("application/openmetrics-text")
    names = {family.name for family in read_openmetrics(answer.content.decode())}
    assert {"taskhub_streams_opened", "taskhub_web_processes"} <= names


@pytest.mark.parametrize(("role", "status"), [(None, 401), ("viewer", 200), ("nothing", 403)])
def test_metrics_are_for_readers(settings: Any, role: str | None, status: int) -> None:
    settings.TASKHUB_OPEN_READING = False
    client: Any = (
        Client() if role is None else client_of(make_account("scraper", *([role] if role != "nothing" else [])))
    )
    assert client.get("/metrics").status_code == status


def test_every_measure_with_bounds_is_a_histogram() -> None:
    assert {histogram.measure for histogram in HISTOGRAMS} == set(BOUNDS)
