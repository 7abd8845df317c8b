"""A start job: what it asks the database, and whom it starts."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_eventstream.models import Event
from rest_framework.test import APIClient

from taskhub.auth.actor import SYSTEM
from taskhub.executions.executor import ExecutorError, Launch, Place
from taskhub.models import AdmissionState, Execution
from taskhub.selectors.admission import admission_overview
from taskhub.services import admission, capacity
from taskhub.services.admission_rules import admission_rule_set
from taskhub.services.dispatch import EXECUTION_START
from taskhub.services.environments import environment_create
from taskhub.web.thread_pool import wait_here
from taskhub.worker import starting
from tests.unit.test_admission import queue, status_of, waiting_events

pytestmark = pytest.mark.django_db

LONG_AGO = -timedelta(hours=1)
"""All jobs have come."""


class Launched:
    """An executor that starts everything at once."""

    async def launch(self, launch: Launch) -> Place:
        return Place(launch.execution_id, f"sandbox-{launch.execution_id}", launch.session_name, "command")


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """The executions whose start jobs were sent."""
    found: list[UUID] = []

    def send_job(name: str, execution_id: UUID) -> None:
        assert name == EXECUTION_START
        found.append(execution_id)

    monkeypatch.setattr(starting, "get_executor", Launched)
    monkeypatch.setattr(admission, "JOB_TAKES", timedelta(hours=1))  # all jobs are on the way
    monkeypatch.setattr(starting, "send_job", send_job)
    return found


def start(execution: Execution, **options: Any) -> Execution | None:
    return wait_here(partial(starting.start, execution.pk, **options))


def reads_the_queue(queries: CaptureQueriesContext) -> bool:
    return any("ROW_NUMBER" in query["sql"] for query in queries.captured_queries)


def test_execution_that_is_queued_alone_starts_without_a_look_at_the_queue() -> None:
    (only,) = queue("alice")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        started = start(only)
    assert started is not None
    assert not reads_the_queue(queries)
    kept = Execution.objects.get()
    assert (kept.status, kept.attempts, kept.fence) == ("running", 1, 1)
    assert kept.admitted_at is not None


def test_jobs_that_come_in_order_need_no_look(sent: list[UUID]) -> None:
    """Many of one account, accepted at once."""
    made = queue("alice", 5)
    with CaptureQueriesContext(connection) as queries:
        assert all(start(each) for each in made)
    assert not reads_the_queue(queries)
    assert sent == []


@pytest.mark.parametrize("first", ["another account's", "an older one", "a more urgent one"])
def test_what_comes_first_is_found_by_a_look(sent: list[UUID], first: str) -> None:
    if first == "an older one":
        earlier, later = queue("alice", 2)
    else:
        (later,) = queue("alice")
        (earlier,) = queue("bob") if first == "another account's" else queue("alice", priority="high")
    with CaptureQueriesContext(connection) as queries:
        assert start(later) is not None
    assert reads_the_queue(queries)
    assert sent == [earlier.pk]


def test_start_of_one_of_many_reads_the_queue_only_when_a_turn_is_free(
    sent: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each start would cost a look at all that wait."""
    made = queue("alice", admission.UNDER_WAY + 20)
    first = admission.executions_admit()
    with CaptureQueriesContext(connection) as queries:
        assert start(made[-1]) is None
    assert not reads_the_queue(queries)
    assert status_of(made[-1]) == "queued"
    monkeypatch.setattr(admission, "JOB_TAKES", LONG_AGO)
    by_id = {execution.pk: execution for execution in made}
    for execution_id in first[: admission.UNDER_WAY // 2]:
        assert sent == []
        assert start(by_id[execution_id]) is not None
    assert len(sent) == admission.UNDER_WAY // 2


@pytest.mark.parametrize("what", ["hub limit", "account limit", "pause", "ceiling", "throttled", "others", "told"])
def test_execution_is_not_started_past(settings: Any, what: str) -> None:
    other = start(queue("alice")[0])
    assert other is not None
    settings.TASKHUB_EXECUTIONS_AT_ONCE = int(what == "hub limit")
    settings.TASKHUB_EXECUTIONS_AT_ONCE_PER_ACCOUNT = int(what == "account limit")
    if what == "pause":
        admission_rule_set(actor=SYSTEM, paused=True)
    if what in {"ceiling", "throttled"}:
        soon = timezone.now() + timedelta(minutes=1)
        field = {
            "ceiling": {"ceiling": 1, "ceiling_at": soon, "retry_at": soon},
            "throttled": {"throttled_until": soon},
        }
        AdmissionState.objects.create(**field[what])
    (next_one,) = queue("alice")
    if what == "others":
        admission_rule_set(actor=SYSTEM, at_once=1)
        queue("bob")
    if what == "told":
        Execution.objects.filter(pk=next_one.pk).update(waiting_reason="capacity")
        AdmissionState.objects.create(
            ceiling=1, ceiling_at=timezone.now(), retry_at=timezone.now() + timedelta(hours=1)
        )
    assert start(next_one) is None
    assert status_of(next_one) == "queued"
    reason = {"pause": "paused", "hub limit": "limit", "account limit": "limit", "others": "limit"}.get(
        what, "capacity"
    )
    assert Execution.objects.get(pk=next_one.pk).waiting_reason == reason
    assert what == "told" or reason in {data["reason"] for data in waiting_events()}


def test_throttled_service_that_is_asked_again_is_no_bound_any_more() -> None:
    AdmissionState.objects.create(throttled_until=timezone.now() - timedelta(seconds=1))
    (first,) = queue("alice")
    assert start(first) is not None, "by a look, which forgets it"
    (second,) = queue("alice")
    with CaptureQueriesContext(connection) as queries:
        assert start(second) is not None
    assert not reads_the_queue(queries)


def test_process_starts_itself_what_it_was_asked_for_before_its_turn(
    sent: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = queue("alice", 3)
    monkeypatch.setattr(admission, "JOB_TAKES", LONG_AGO)
    asked = {made[1].pk}
    assert start(made[0], takes=asked.__contains__) is not None
    assert sent == [made[2].pk]


class ImageMissing(ExecutorError):
    waits_for = "image"

    def __init__(self) -> None:
        super().__init__("sandbox_building", "The image is being built.", permanent=False)


@pytest.mark.parametrize(
    ("change", "ending"),
    [("stop_requested_at", ("stopped", "")), ("admitted_at", ("failed", "sandbox_build_slow"))],
)
def test_a_sandbox_whose_image_is_built_is_given_back_with_its_execution(
    monkeypatch: pytest.MonkeyPatch, change: str, ending: tuple[str, str]
) -> None:
    given_back: list[str] = []

    class Building(Launched):
        async def launch(self, launch: Launch) -> Place:
            raise ImageMissing

        async def release(self, place: Place, *, made_sandbox: bool) -> None:
            assert made_sandbox
            given_back.append(place.session_name)

    def look(**changes: Any) -> Execution:
        Execution.objects.update(lease_until=None, **changes)  # as the reconciliation does, when it has run out
        assert start(only) is None
        return Execution.objects.get()

    monkeypatch.setattr(starting, "get_executor", Building)
    (only,) = queue("alice")
    for _ in range(3):
        waiting = look()
        assert (waiting.status, waiting.attempts) == ("starting", 1)
    Execution.objects.update(lease_until=None)
    assert not capacity.unbegun().exists()
    ended = look(**{change: timezone.now() - timedelta(seconds=starting.WAITED_FOR["image"].most_s + 1)})
    assert (ended.status, ended.error_code) == ending
    assert given_back == [only.session_name]


@pytest.mark.parametrize(
    ("awaited", "words"),
    [
        ("image", "builds or fetches the image"),
        ("snapshot", "activates the snapshot"),
        ("volume", "makes the volumes"),
    ],
)
def test_what_a_start_waits_for_is_told_once(
    monkeypatch: pytest.MonkeyPatch, api: APIClient, awaited: str, words: str
) -> None:
    class Waits(Launched):
        async def launch(self, launch: Launch) -> Place:
            error = ImageMissing()
            error.waits_for = awaited  # type: ignore[assignment]
            raise error

    environment_create(actor=SYSTEM, name="backend", image="python:3.12")
    (only,) = queue("alice", environment="backend")
    monkeypatch.setattr(starting, "get_executor", Waits)
    for _ in range(2):
        Execution.objects.update(lease_until=None)
        assert start(only) is None
    expected = {
        "reason": awaited,
        "position": None,
        "message": f"The sandbox service {words} of the environment backend.",
    }
    shown = api.get(f"/api/executions/{only.pk}/").json()
    assert shown["status"] == "starting"
    assert shown["waiting"].items() >= expected.items()
    told = [json.loads(data)["data"] for data in Event.objects.values_list("data", flat=True)]
    steps = [(data["execution_event"], data["reason"]) for data in told if "execution_event" in data]
    assert steps == [("preparing", awaited)]
    assert admission_overview().waiting == {"capacity": 0, "limit": 0, "paused": 0}, "it is in no queue"
    monkeypatch.setattr(starting, "get_executor", Launched)
    Execution.objects.update(lease_until=None)
    assert start(only) is not None
    assert api.get(f"/api/executions/{only.pk}/").json()["waiting"] is None
