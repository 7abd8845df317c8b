"""Prometheus gauges of sandboxes."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from sandboxes.selectors import dashboard as selectors


def sandbox_gauges() -> Iterator[Metric]:
    family = GaugeMetricFamily("taskhub_sandboxes", "Recently watched sandboxes by state.", labels=["state"])
    for state, count in selectors.sandboxes_by_state().items():
        family.add_metric([state], count)
    yield family
