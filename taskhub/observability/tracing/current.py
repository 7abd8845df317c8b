"""Ids of the current trace and span, for log records."""

from __future__ import annotations

from opentelemetry import trace


def current_ids() -> dict[str, str]:
    """`trace_id` and `span_id`, as a collector shows them; empty outside of spans."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}
