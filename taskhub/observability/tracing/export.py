"""Span exporter: redacts spans and logs a failing collector once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Status

from taskhub.observability.redaction import scrub

log = logging.getLogger(__name__)


class QuietExporter(SpanExporter):
    """Exports redacted spans by `inner`. Logs once that the collector fails, and once that it works again; the SDK
    itself would log every batch."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self.failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export([scrubbed_span(span) for span in spans])
        failed = result is not SpanExportResult.SUCCESS
        if failed and not self.failing:
            log.warning("the trace collector refuses spans or does not answer; they are dropped until it accepts them")
        elif self.failing and not failed:
            log.info("the trace collector accepts spans again")
        self.failing = failed
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


def scrubbed_span(span: ReadableSpan) -> ReadableSpan:
    """Addresses may contain tickets, and error messages may quote anything."""
    words = span.status.description
    return ReadableSpan(
        name=scrub(span.name),
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_scrubbed(span.attributes),
        events=[Event(event.name, _scrubbed(event.attributes), event.timestamp) for event in span.events],
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code, scrub(words) if words else None),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _scrubbed(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: _scrubbed_value(value) for name, value in (attributes or {}).items()}


def _scrubbed_value(value: Any) -> Any:
    if isinstance(value, str):
        return scrub(value)
    return [_scrubbed_value(each) for each in value] if isinstance(value, list | tuple) else value
