"""Traces by OpenTelemetry, if its variables name a collector. Otherwise nothing of it is imported.

    instruments.py  the spans of each kind of process
    export.py       exports spans, redacted; logs a failing collector once
    current.py      the ids of the current trace and span, for log records

There is a span for each request (until its headers: streams keep none open), each job (in the trace of its sender),
and each request to Daytona. A separate thread exports them, from a queue that drops spans when it is full: a slow
collector delays nothing, and is logged once.
"""

from __future__ import annotations

from typing import Literal

from django.conf import settings

Part = Literal["web", "worker", "beat"]


def start_tracing(part: Part) -> None:
    """Call once in a process of this part, before it serves. Forked children continue by themselves."""
    if settings.TASKHUB_TRACING:
        from taskhub.observability.tracing.instruments import start  # noqa: PLC0415 - loaded only if traces are on

        start(part)
