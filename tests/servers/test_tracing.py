"""Traces of a real web process and a real worker, as a collector gets them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.processes import free_port, wait_until
from tests.servers.collector import Collector, running_collector
from tests.servers.hubs import Installation

WORKER = ("-m", "celery", "--app", "config", "--quiet", "worker", "--without-gossip", "--without-mingle")


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Installation]:
    """Nothing listens where Daytona should be: requests to it fail, and have spans all the same."""
    installation = Installation(tmp_path)
    installation.env |= {
        "DAYTONA_API_KEY": "dtn_0123456789",
        "DAYTONA_API_URL": f"http://127.0.0.1:{free_port()}/api",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    yield installation
    installation.end()


def start(hub: Installation, *pool: str) -> None:
    worker = hub.start("worker", *WORKER, "--loglevel", "INFO", *pool)
    hub.start_web("one")
    worker.wait_for_line("ready")


def execute(hub: Installation, address: str) -> httpx.Response:
    task = httpx.post(f"{address}/api/tasks/", json={"title": "t"}, headers=hub.headers).json()
    script = {"script_content": "true", "env": {"A": {"value": "canary-of-env", "secret": True}}}
    entry = {"name": "of-traces", "value": "canary-of-vault", "hosts": ["example.com"]}
    httpx.post(f"{address}/api/secrets/", json=entry, headers=hub.headers)  # nothing answers, and that is traced
    httpx.get(f"{address}/api/tasks/?ticket=hunter22", headers=hub.headers)  # refused, and traced all the same
    return httpx.post(f"{address}/api/exec/{task['id']}", json=script, headers=hub.headers)


@pytest.mark.parametrize(
    "pool", [("--pool", "threads", "--concurrency", "2"), ("--pool", "prefork", "--concurrency", "1")]
)
def test_a_trace_goes_on_from_the_request_into_the_job_and_to_daytona(
    hub: Installation, collector: Collector, pool: tuple[str, ...]
) -> None:
    hub.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.endpoint
    hub.env["TASKHUB_LOG_FORMAT"] = "json"
    start(hub, *pool)
    execute(hub, hub.address("one"))

    request = collector.wait_for(
        lambda service, span: (service, span.name) == ("taskhub-web", "POST /api/exec/<task_id>/"), "the request"
    )
    job = collector.wait_for(
        lambda service, span: (service, span.name) == ("taskhub-worker", "run/taskhub.jobs.execution_start"), "the job"
    )
    assert job.trace_id == request.trace_id
    daytona = collector.wait_for(
        lambda service, span: service == "taskhub-worker" and span.trace_id == job.trace_id and span.name == "POST",
        "the request to Daytona",
    )
    assert daytona.parent_span_id
    # A line of the job names the trace.
    hub.processes["worker"].wait_for_line(f'"trace_id": "{job.trace_id.hex()}"')
    assert "/api/secrets/" in collector.text
    assert "canary-of" not in collector.text + "\n".join(hub.processes["worker"].output)
    assert "hunter22" not in collector.text
    assert "ticket=[hidden]" in collector.text
    assert hub.token not in collector.text
    assert "dtn_0123456789" not in collector.text


def test_a_request_that_is_awaited_keeps_its_trace_and_its_log_context(hub: Installation, collector: Collector) -> None:
    """Its span has ended when the event loop asks Daytona."""
    hub.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.endpoint
    hub.env["TASKHUB_LOG_FORMAT"] = "json"
    hub.start_web("one")
    headers = {**hub.headers, "X-Request-ID": "my-look"}
    assert httpx.get(f"{hub.address('one')}/api/sandboxes/", headers=headers).status_code == 503
    request = collector.wait_for(lambda _, span: span.name == "GET /api/sandboxes/", "the request")
    asked = collector.wait_for(
        lambda _, span: span.name == "GET" and span.trace_id == request.trace_id, "the request to Daytona"
    )
    assert asked.parent_span_id == request.span_id
    line = hub.processes["one"].wait_for_line("Daytona does not answer")
    assert '"request_id": "my-look"' in line
    assert f'"trace_id": "{request.trace_id.hex()}"' in line
    assert '"user": "operator"' in line


def test_an_open_stream_holds_no_span_open(hub: Installation, collector: Collector) -> None:
    hub.env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = f"{collector.endpoint}/v1/traces"
    hub.start_web("one")
    with httpx.stream("GET", f"{hub.address('one')}/api/events/stream", timeout=90) as stream:
        lines = stream.iter_lines()  # the connection goes with them
        assert next(lines)
        span = collector.wait_for(lambda _, span: span.name == "GET /api/events/stream/", "the stream")
    assert span.end_time_unix_nano > span.start_time_unix_nano
    assert not [span for _, span in collector.spans if "healthz" in span.name]


def test_nothing_is_sent_or_loaded_without_the_variables(hub: Installation, collector: Collector) -> None:
    hub.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.endpoint
    hub.env["OTEL_SDK_DISABLED"] = "true"
    hub.start_web("one")
    execute(hub, hub.address("one"))
    hub.processes["one"].end()  # what was held back would be sent now
    assert collector.requests == 0

    del hub.env["OTEL_EXPORTER_OTLP_ENDPOINT"], hub.env["OTEL_SDK_DISABLED"]
    loaded = hub.manage(
        "shell",
        "--no-imports",
        "-c",
        "import sys, config.asgi\n"
        "print([name for name in ('taskhub.observability.tracing.instruments', 'opentelemetry.instrumentation.django') "
        "if name in sys.modules])",
    )
    assert loaded.strip() == "[]"


def test_a_collector_that_refuses_is_told_of_once_and_holds_nothing_up(hub: Installation, collector: Collector) -> None:
    collector.status = 400
    hub.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.endpoint
    hub.start_web("one")
    for _ in range(3):
        sent = collector.requests
        assert execute(hub, hub.address("one")).status_code == 202
        wait_until(lambda sent=sent: collector.requests > sent, "another batch is tried")
    web = hub.processes["one"]
    collector.status = 200
    execute(hub, hub.address("one"))
    web.wait_for_line("the trace collector accepts spans again")
    said = [line for line in web.output if "the trace collector" in line]
    assert len(said) == 2, said
    assert "the trace collector refuses spans" in said[0]


def test_a_collector_that_is_not_there_delays_no_end(hub: Installation) -> None:
    hub.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{free_port()}"
    hub.start_web("one")
    assert execute(hub, hub.address("one")).status_code == 202
    web = hub.processes["one"]
    web.wait_for_line("the trace collector refuses spans")
    web.popen.terminate()
    assert web.wait(within_s=60) in {0, -15}
    assert "Traceback" not in "\n".join(web.output)
