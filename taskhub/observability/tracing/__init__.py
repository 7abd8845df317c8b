"""Traces by OpenTelemetry, where its own variables name a collector. Without them none of it is imported, or costs.

    instruments.py  which spans there are, in which process
    export.py       what leaves the process: without secrets, and quiet when nobody takes it
    current.py      the trace and the span that a log line falls into

A span for each request (to its headers: a stream holds none open), each job, which goes on with the trace of whoever
sent it, and each request to Daytona. They are sent by a thread of their own, from a queue that drops what finds no
room: a collector that is slow or away holds nothing up, and is told of once.
"""

from __future__ import annotations

from typing import Literal

from django.conf import settings

Part = Literal["web", "worker", "beat"]


def start_tracing(part: Part) -> None:
    """In a process of this part, once, before it serves. Its children by fork go on by themselves."""
    if settings.TASKHUB_TRACING:
        from taskhub.observability.tracing.instruments import start  # noqa: PLC0415 - only who traces pays for it

        start(part)
