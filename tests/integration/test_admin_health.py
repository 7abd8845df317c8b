"""The dashboard with Redis answering."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from sandboxes.models import Poll, Sandbox
from taskhub.events.process_status import write_report

pytestmark = pytest.mark.django_db


# --- The page ----------------------------------------------------------------------------------------


def page_of(operator_client: Client, query: str = "") -> Any:
    answer = operator_client.get(f"/admin/{query}")
    assert answer.status_code == 200
    return answer


def test_current_figures_link_to_their_rows(operator_client: Client) -> None:
    write_report({"clients": {"tasks": 3, "logs": 2}, "counters": {}, "lag_events": 9, "lag_s": 8.0, "redis": True})
    Sandbox.objects.create(id="box", state="error", seen_at=timezone.now())
    Poll.objects.create(
        name="status", started_at=timezone.now(), took_ms=41, watched=1, requests=1, error_code="sandbox_unavailable"
    )
    figures = {figure.name: figure for figure in page_of(operator_client).context["figures"]}
    assert {name: figures[name].value for name in ("Open streams", "Of these, event streams", "Redis")} == {
        "Open streams": "5",
        "Of these, event streams": "3",
        "Redis": "answers",
    }
    bad = {name for name, figure in figures.items() if figure.is_bad}
    assert bad == {"Beat", "Workers", "Lag of the slowest stream", "Sandboxes error", "Last poll of status"}
    for figure in figures.values():
        if figure.address:
            assert operator_client.get(figure.address).status_code == 200
