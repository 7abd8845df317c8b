"""The alert rules and the dashboard under `deploy/`: valid, and about metrics that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from taskhub.models import MetricName
from taskhub.observability.metrics_store import BOUNDS, Meter, note_heartbeat
from tests.processes import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
NAME = re.compile(r"\btaskhub_\w+")


@pytest.fixture
def told(db: None) -> set[str]:
    """Every name of a sample that a hub at work tells."""
    meter = Meter()
    for measure in BOUNDS:
        meter.add(measure, 1, "GET 200" if measure == MetricName.REQUEST_MS else "x")
    meter.count(MetricName.STREAM_ENDS, "shutdown")
    meter.write()
    note_heartbeat("beat")
    families = text_string_to_metric_families(Client().get("/metrics").content.decode())
    return {sample.name for family in families for sample in family.samples} | {"taskhub_sandboxes"}


def expressions(value: Any) -> Iterator[str]:
    """Whatever stands under `expr`, however deep."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name == "expr":
                yield each
            else:
                yield from expressions(each)
    elif isinstance(value, list):
        for each in value:
            yield from expressions(each)


def dashboard() -> Any:
    return json.loads((ROOT / "deploy" / "grafana" / "taskhub.json").read_text())


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian's prometheus) is not installed")
@pytest.mark.parametrize(
    "command",
    [
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
        ["check", "config", "--syntax-only", "prometheus.yml"],
    ],
    ids=" ".join,
)
def test_prometheus_takes_it(command: list[str]) -> None:
    done = subprocess.run(
        ["promtool", *command], cwd=PROMETHEUS, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_about_metrics_that_there_are(told: set[str]) -> None:
    named = {
        name
        for each in expressions(yaml.safe_load((PROMETHEUS / "alerts.yml").read_text()))
        for name in NAME.findall(each)
    }
    assert named
    assert named <= told


def test_pictures_are_of_metrics_that_there_are(told: set[str]) -> None:
    named = {name for each in expressions(dashboard()) for name in NAME.findall(each)}
    assert len(named) > 15
    assert named <= told


def test_every_metric_is_drawn_or_watched(told: set[str]) -> None:
    texts = [*expressions(dashboard()), *expressions(yaml.safe_load((PROMETHEUS / "alerts.yml").read_text()))]
    named = {name for each in texts for name in NAME.findall(each)}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in named}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in told} <= families


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian's prometheus) is not installed")
def test_every_expression_of_the_dashboard_is_promql() -> None:
    rules = [
        {"record": f"drawn:{n}", "expr": each.replace("$__rate_interval", "5m")}
        for n, each in enumerate(expressions(dashboard()))
    ]
    done = subprocess.run(
        ["promtool", "check", "rules", "/dev/stdin"],
        input=json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_panels_have_their_own_places_and_ids() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
