"""Instrumentation: the spans of web processes, workers and beat."""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING, Any, Final

from celery import signals
from django.contrib.admindocs.views import simplify_regex
from django.http import HttpRequest, HttpResponse
from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from taskhub.observability.tracing import Part
from taskhub.observability.tracing.export import QuietExporter

if TYPE_CHECKING:
    from yarl import URL

_UNTRACED: Final = "/healthz,/readyz,/metrics,/static/"
_AFTER_OURS: Final = 1
"""After `RequestContext`, so that requests refused by the instrumentation (an invalid Host) also have an id."""


_LEAVE_MS: Final = 1500


def start(part: Part) -> None:
    named = {"service.name": f"taskhub-{part}", **OTELResourceDetector().detect().attributes}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    exporter = QuietExporter(OTLPSpanExporter())
    processor = BatchSpanProcessor(exporter)
    provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    atexit.register(_leave, processor, exporter)
    if part == "beat":
        signals.before_task_publish.connect(_begin_trace, weak=False, dispatch_uid="taskhub.observability.tracing")
    DjangoInstrumentor().instrument(
        middleware_position=_AFTER_OURS, excluded_urls=_UNTRACED, response_hook=_name_by_route
    )
    CeleryInstrumentor().instrument()  # type: ignore[no-untyped-call]  # its constructor has no types
    AioHttpClientInstrumentor().instrument(url_filter=_without_query)


def _name_by_route(span: trace.Span, request: HttpRequest, _: HttpResponse) -> None:
    """`POST /api/exec/<task_id>/` instead of the matched regular expression."""
    if request.resolver_match is not None:
        route = simplify_regex(request.resolver_match.route)
        span.update_name(f"{request.method} {route}")
        span.set_attribute("http.route", route)


def _without_query(url: URL) -> str:
    """A query may hold what no pattern finds: the path of a file whose name has a secret value of its script, the key
    in the address of a receiver of webhooks."""
    return str(url.with_query(None))


def _begin_trace(**_: Any) -> None:
    """Each job from beat starts its own trace. The instrumentation leaves the span of a message that could not be sent
    current; without this, everything that beat sends afterwards would be part of it."""
    context.attach(context.Context())


def _leave(processor: BatchSpanProcessor, exporter: QuietExporter) -> None:
    """Export the remaining spans within 1.5 s, unless the collector is failing."""
    if exporter.failing:
        exporter.shutdown()
    processor._batch_processor.shutdown(timeout_millis=_LEAVE_MS)  # noqa: SLF001 - its own shutdown waits for 30 s
