"""Prometheus metrics (`/metrics`) of the whole installation, from any web process.

Counters and histograms come from the totals that every process writes within ten seconds (`metrics_store`), gauges from
the current rows. Other apps contribute gauges of their own in `AppConfig.ready`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from django.http import HttpRequest, HttpResponse
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from taskhub.api.callers import readers_only
from taskhub.events.process_status import clients_by_kind
from taskhub.events.types import EVENT_TYPES
from taskhub.lib.extensions import ExtensionPoint
from taskhub.models import ACTIVE_STATUSES, ExecutionStatus, MetricName, MetricTotal
from taskhub.observability.health import remembered
from taskhub.observability.heartbeat import heartbeat_ages
from taskhub.observability.metrics_store import BOUNDS, read_totals
from taskhub.observability.parts import OK, data_free_bytes
from taskhub.selectors import dashboard as selectors
from taskhub.selectors.admission import longest_wait_s, waiting_by_reason
from taskhub.selectors.webhooks import webhooks_failing_now


class Count(NamedTuple):
    """A counter with one label; the `known` label values are exported before they occur."""

    name: str
    help: str
    measure: MetricName
    label: str
    known: Iterable[str] = ()


class Histogram(NamedTuple):
    """In seconds; the metric's label has a word for each of `labels`, and its values are in 1/`per_second` s."""

    name: str
    help: str
    measure: MetricName
    labels: list[str]
    per_second: int = 1


COUNTERS: Final = [
    Count("taskhub_events_published", "Published events by type.", MetricName.EVENTS, "type", EVENT_TYPES),
    Count("taskhub_streams_closed", "Closed streams by outcome.", MetricName.STREAM_ENDS, "outcome"),
    Count(
        "taskhub_executions_finished",
        "Finished executions by outcome.",
        MetricName.EXECUTION_ENDS,
        "outcome",
        [status.value for status in ExecutionStatus if status not in ACTIVE_STATUSES],
    ),
    Count(
        "taskhub_upstream_requests",
        "Requests to Daytona by response status: 2xx, another, or none.",
        MetricName.UPSTREAM_REQUESTS,
        "status",
        ["2xx"],
    ),
    Count(
        "taskhub_webhook_attempts",
        "Webhook delivery attempts by outcome.",
        MetricName.WEBHOOK_ATTEMPTS,
        "outcome",
        ["delivered", "failed"],
    ),
]
STREAM_COUNTERS: Final = {
    "opened": ("taskhub_streams_opened", "Opened streams."),
    "deliveries": ("taskhub_stream_deliveries", "Events sent, counted per stream."),
    "resumes": ("taskhub_stream_resumes", "Streams that resumed from an id or a time."),
    "resets": ("taskhub_stream_resets", "Streams that received stream-reset."),
    "overflows": ("taskhub_stream_overflows", "Live streams that fell behind and read from the database again."),
    "table_reads": ("taskhub_stream_table_reads", "Pages of events read from the database for streams."),
}
HISTOGRAMS: Final = [
    Histogram(
        "taskhub_execution_duration_seconds",
        "Run time of started executions by outcome.",
        MetricName.EXECUTION_S,
        ["outcome"],
    ),
    Histogram("taskhub_poll_duration_seconds", "Duration of polls.", MetricName.POLL_MS, ["poll"], 1000),
    Histogram(
        "taskhub_http_request_duration_seconds",
        "Duration of requests until the response; for a stream, until it opens.",
        MetricName.REQUEST_MS,
        ["method", "status"],
        1000,
    ),
]
GAUGES: Final = ExtensionPoint[Callable[[], Iterator[Metric]]]("gauges", lambda gauges: gauges.__qualname__)

_Totals = dict[MetricName, list[MetricTotal]]


@readers_only
def metrics(request: HttpRequest) -> HttpResponse:
    """In the text format, or in OpenMetrics if the client accepts it."""
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(_Everything()), content_type=content_type, headers={"Cache-Control": "no-store"})


class _Everything(Collector):
    def collect(self) -> Iterator[Metric]:
        totals: _Totals = defaultdict(list)
        for total in read_totals():
            totals[MetricName(total.name)].append(total)
        for counter in COUNTERS:
            yield _counter(counter, totals[counter.measure])
        happened = {total.label: total.count for total in totals[MetricName.STREAM_EVENTS]}
        for label, (name, text) in STREAM_COUNTERS.items():
            yield CounterMetricFamily(name, text, value=happened.get(label, 0))
        for histogram in HISTOGRAMS:
            yield _histogram(histogram, totals[histogram.measure])
        for gauges in GAUGES.values():
            yield from gauges()


def _counter(counter: Count, totals: list[MetricTotal]) -> Metric:
    family = CounterMetricFamily(counter.name, counter.help, labels=[counter.label])
    counts = dict.fromkeys(counter.known, 0) | {total.label: total.count for total in totals if not total.le}
    for label, count in counts.items():
        family.add_metric([label], count)
    return family


def _histogram(histogram: Histogram, totals: list[MetricTotal]) -> Metric:
    family = HistogramMetricFamily(histogram.name, histogram.help, labels=histogram.labels)
    within: dict[tuple[str, str], int] = {(total.label, total.le): total.count for total in totals if total.le}
    for total in totals:
        if total.le:
            continue
        buckets: list[tuple[str, float]] = []
        count = 0
        for bound in BOUNDS[histogram.measure]:
            count += within.get((total.label, str(bound)), 0)
            buckets.append((str(bound / histogram.per_second), count))
        buckets.append(("+Inf", total.count))
        family.add_metric(total.label.split(" "), buckets, total.total / histogram.per_second)
    return family


def stream_gauges() -> Iterator[Metric]:
    reports = [process.report for process in selectors.processes_living()]
    yield GaugeMetricFamily("taskhub_web_processes", "Reporting web processes.", value=len(reports))
    clients = sum(map(clients_by_kind, reports), Counter[str]())
    family = GaugeMetricFamily("taskhub_streams_open", "Open streams by kind.", labels=["kind"])
    for kind in dict.fromkeys(("tasks", "execution-log", "sandbox", "mcp", *clients)):
        family.add_metric([kind], clients[kind])
    yield family
    yield GaugeMetricFamily(
        "taskhub_stream_lag_events",
        "Lag of the slowest stream in events.",
        value=max((report["lag_events"] for report in reports), default=0),
    )
    yield GaugeMetricFamily(
        "taskhub_stream_lag_seconds",
        "Lag of the slowest stream in seconds.",
        value=max((report["lag_s"] for report in reports), default=0),
    )
    yield GaugeMetricFamily(
        "taskhub_redis_heard",
        "1 if all web processes receive notifications from Redis.",
        value=int(all(report["redis"] for report in reports)),
    )


def job_gauges() -> Iterator[Metric]:
    active = selectors.executions_active()
    executions = GaugeMetricFamily("taskhub_executions_active", "Active executions by status.", labels=["status"])
    for status in sorted(ACTIVE_STATUSES):
        executions.add_metric([status], active.get(status, 0))
    yield executions
    waiting = GaugeMetricFamily(
        "taskhub_executions_waiting", "Executions that wait to start, by reason.", labels=["reason"]
    )
    for reason, count in waiting_by_reason().items():
        waiting.add_metric([reason], count)
    yield waiting
    yield GaugeMetricFamily(
        "taskhub_execution_longest_wait_seconds",
        "For how long the oldest execution that waits has waited.",
        value=longest_wait_s(),
    )
    ages = GaugeMetricFamily(
        "taskhub_heartbeat_age_seconds",
        "Seconds since beat sent, or a worker ran, its last job.",
        labels=["process"],
    )
    for name, age_s in heartbeat_ages().items():
        ages.add_metric([name], age_s)
    yield ages


def health_gauges() -> Iterator[Metric]:
    """What `/readyz` says, for alerts that name the part."""
    health = GaugeMetricFamily("taskhub_part_ok", "1 if /readyz finds the part well.", labels=["part"])
    for part, said in remembered.read()["parts"].items():
        health.add_metric([part], int(said == OK))
    yield health
    yield GaugeMetricFamily("taskhub_data_free_bytes", "Free bytes of the data folder's disk.", value=data_free_bytes())


def webhook_gauges() -> Iterator[Metric]:
    count, longest_s = webhooks_failing_now()
    yield GaugeMetricFamily("taskhub_webhooks_failing", "Active endpoints whose last attempt failed.", value=count)
    yield GaugeMetricFamily(
        "taskhub_webhook_longest_failing_seconds",
        "For how long the endpoint that has failed longest has failed.",
        value=longest_s,
    )
