"""Requests in the metrics: by method and status, and how long they took."""

from __future__ import annotations

from typing import Final

from django.views import View

from taskhub.models import MetricName
from taskhub.observability.metrics_store import meter

_METHODS: Final = frozenset(name.upper() for name in View.http_method_names)


def measure(method: str, status: int, took_s: float) -> None:
    """Count a request that took so many seconds."""
    known = method if method in _METHODS else "other"
    meter.add(MetricName.REQUEST_MS, 1000 * took_s, f"{known} {status}")
