"""The dashboard: what it counts is what the rows say, its pictures can be read without seeing them."""

from __future__ import annotations

import json
import uuid
import xml.etree.ElementTree as ET
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_eventstream.models import Event

from sandboxes.models import Sandbox
from taskhub.admin.charts import HEIGHT, Picture
from taskhub.models import Execution, ExecutionStatus, Task
from taskhub.selectors.dashboard import (
    events_by_type,
    executions_by_outcome,
    executions_by_span,
    executions_took,
    window_named,
)

pytestmark = pytest.mark.django_db


def happen(name: str, seconds_ago: float, count: int = 1) -> None:
    for _ in range(count):
        said = json.dumps({"id": str(uuid.uuid4()), "event": name, "data": {}}, separators=(",", ":"))
        event = Event.objects.create(channel="tasks", type="message", eid=Event.objects.count() + 1, data=said)
        Event.objects.filter(pk=event.pk).update(created=timezone.now() - timedelta(seconds=seconds_ago))


def end(status: ExecutionStatus, ran_s: float | None, seconds_ago: float = 0) -> None:
    finished = timezone.now() - timedelta(seconds=seconds_ago)
    Execution.objects.create(
        task=Task.objects.create(title="t"),
        status=status,
        timeout_s=1,
        session_name="s",
        started_at=None if ran_s is None else finished - timedelta(seconds=ran_s),
        finished_at=finished,
    )


# --- What is counted ---------------------------------------------------------------------------------


def test_events_are_counted_by_type_and_minute() -> None:
    window = window_named("hour")
    happen("task_created", 0, 3)
    happen("task_updated", 600)
    happen("task_created", 2 * 3600)
    Event.objects.create(channel="others", type="x", eid=1, data='{"event":"task_created"}')
    counted = events_by_type(window)
    assert {name: sum(values) for name, values in counted.items()} == {"task_created": 3, "task_updated": 1, "other": 1}
    assert all(len(values) == 60 for values in counted.values())
    # The minute may have ended since the window was made.
    assert sum(counted["task_created"][-1:]) in {0, 3}
    assert counted["task_updated"].index(1) in {48, 49, 50}


def test_parts_that_are_over_are_counted_once() -> None:
    happen("task_created", 7200)
    first = events_by_type(window_named("day"))
    with CaptureQueriesContext(connection) as queries:
        happen("task_updated", 0)
        again = events_by_type(window_named("day"))
    assert again["task_created"] == first["task_created"]
    assert sum(again["task_updated"]) == 1
    counted = queries[-1]["sql"]
    assert counted.count(":00:00") + counted.count(":30:00") >= 2, counted
    assert f"{window_named('day').moment(46):%Y-%m-%d %H:%M}" in counted


def test_a_day_has_half_hours() -> None:
    happen("task_created", 2 * 3600)
    happen("task_created", 30 * 3600)
    counted = events_by_type(window_named("day"))
    assert sum(counted["task_created"]) == 1
    assert counted["task_created"].index(1) in {42, 43, 44}


def test_executions_are_counted_by_outcome_with_how_long_they_ran() -> None:
    end(ExecutionStatus.COMPLETED, 10)
    end(ExecutionStatus.COMPLETED, 30)
    end(ExecutionStatus.FAILED, None)
    end(ExecutionStatus.LOST, 5, seconds_ago=7200)
    window = window_named("hour")
    counted = executions_by_outcome(window)
    assert {name: sum(values) for name, values in counted.items()} == {"completed": 2, "failed": 1}
    took = {row.status: row for row in executions_took(window)}
    assert (took["completed"].mean, took["completed"].longest) == (20.0, 30.0)
    assert (took["failed"].count, took["failed"].mean) == (1, None)
    assert executions_by_span(window) == {"completed": [0, 0, 1, 1, 0, 0, 0]}


def test_executions_of_parts_that_are_over_are_read_once() -> None:
    end(ExecutionStatus.LOST, 5, seconds_ago=7200)
    first = executions_by_outcome(window_named("day"))
    with CaptureQueriesContext(connection) as queries:
        end(ExecutionStatus.COMPLETED, 10)
        again = executions_by_outcome(window_named("day"))
    assert again["lost"] == first["lost"]
    assert sum(again["completed"]) == 1
    assert f"{window_named('day').moment(46):%Y-%m-%d %H:%M}" in queries[-1]["sql"]
    assert {row.status: row.median for row in executions_took(window_named("day"))} == {"lost": 5, "completed": 10}


@pytest.mark.parametrize(("ran_s", "place"), [(0, 0), (0.999, 0), (1, 1), (3599, 5), (3600, 6), (90_000, 6)])
def test_a_duration_bucket_excludes_its_upper_bound(ran_s: float, place: int) -> None:
    end(ExecutionStatus.TIMED_OUT, ran_s)
    assert executions_by_span(window_named("hour"))["timed_out"].index(1) == place


def test_how_long_executions_ran_is_drawn(operator_client: Client) -> None:
    end(ExecutionStatus.COMPLETED, 2)
    end(ExecutionStatus.FAILED, 700)
    bars = [bar.findtext("title") for picture in drawn(operator_client) for bar in picture.findall("rect")]
    assert {"< 5 s, Completed: 1", "< 1 h, Failed: 1"} <= set(bars)


# --- The page ----------------------------------------------------------------------------------------


def page_of(operator_client: Client, query: str = "") -> Any:
    answer = operator_client.get(f"/admin/{query}")
    assert answer.status_code == 200
    return answer


def test_an_empty_hub_has_a_dashboard(operator_client: Client) -> None:
    page = page_of(operator_client).content.decode()
    assert page.count("No data in this window.") == 8
    assert "No recently watched sandbox." in page


def test_the_queries_do_not_grow_with_the_rows(operator_client: Client) -> None:
    happen("task_created", 0, 1)
    end(ExecutionStatus.FAILED, 1)
    page_of(operator_client)
    with CaptureQueriesContext(connection) as few:
        page_of(operator_client)
    happen("task_created", 0, 20)
    for _ in range(20):
        end(ExecutionStatus.FAILED, 1)
    with CaptureQueriesContext(connection) as many:
        page_of(operator_client, "?last=day")
    assert len(many) == len(few)


@pytest.mark.parametrize("query", ["", "?last=day", "?last=%00", "?last=week"])
def test_the_window_is_an_hour_unless_it_is_a_day(operator_client: Client, query: str) -> None:
    assert page_of(operator_client, query).context["window"].name == ("day" if query.endswith("day") else "hour")


# --- Pictures ----------------------------------------------------------------------------------------


def drawn(operator_client: Client) -> list[ET.Element]:
    page = page_of(operator_client).content.decode()
    found = [piece.split("</svg>")[0] for piece in page.split('<svg role="img"')[1:]]
    return [ET.fromstring(f"<svg{piece}</svg>") for piece in found]


def test_a_chart_has_title_description_and_bar_titles(operator_client: Client) -> None:
    happen("task_created", 0, 2)
    happen("task_updated", 600, 4)
    (picture,) = drawn(operator_client)
    ids = picture.attrib["aria-labelledby"].split()
    title, description = (next(part for part in picture if part.get("id") == name).text or "" for name in ids)
    assert title == "Events by type, per minute"
    assert "task_created 2, task_updated 4; at most 4 at a time." in description
    bars = picture.findall("rect")
    assert [(bar.findtext("title") or "").split(", ")[1] for bar in bars] == ["task_updated: 4", "task_created: 2"]
    assert not {"style", "onclick"} & {name for part in picture.iter() for name in part.attrib}
    table = page_of(operator_client).content.decode().split("<details>")[1].split("</details>")[0]
    assert table.count("<tr>") == 3


def test_bars_are_stacked_and_scaled_to_the_highest() -> None:
    picture = Picture("k", "t", ["a", "b", "c"], {"one": [1, 0, 2], "none": [0, 0, 0], "two": [3, 0, 0]}, unit="s")
    (first, second, third) = picture.bars
    assert float(first.height) + float(second.height) == HEIGHT
    assert float(second.y) == 0
    assert float(third.height) == HEIGHT / 2
    assert (first.colour, second.colour, third.colour) == ("hub-c0", "hub-c2", "hub-c0")
    assert [(key.name, key.total) for key in picture.keys] == [("one", "3 s"), ("two", "3 s")]
    assert picture.rows == [("a", ["1", "3"]), ("c", ["2", "0"])]
    assert picture.description == "From a to c: one 3 s, two 3 s; at most 4 s at a time."


def test_an_empty_chart_has_a_text() -> None:
    picture = Picture("k", "t", ["a", "b"], {"one": [0, 0]})
    assert (picture.is_empty, picture.bars, picture.rows) == (True, [], [])
    assert picture.description == "No data in this window."


def test_sandboxes_are_drawn_by_their_state(operator_client: Client) -> None:
    for name, state in (("a", "started"), ("b", "started"), ("c", "error")):
        Sandbox.objects.create(id=name, state=state, seen_at=timezone.now())
    (picture,) = drawn(operator_client)
    assert [bar.findtext("title") for bar in picture.findall("rect")] == ["error, error: 1", "started, started: 2"]
    assert picture.findtext("desc") == "error 1, started 2."
