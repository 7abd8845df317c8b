"""Jobs at rest: what makes work for a job sets its marker, and the job sets it again until the work is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone

from sandboxes import jobs as sandbox_jobs
from sandboxes.models import Subscription, Watching
from sandboxes.services.attention import list_note_look
from sandboxes.services.subscriptions import subscriptions_save
from taskhub import jobs
from taskhub.auth.actor import SYSTEM
from taskhub.events.process_status import PROCESS_NAME, write_report
from taskhub.lib import awake
from taskhub.models import Claim, Execution, ExecutionStatus, WebhookDelivery, WebhookEndpoint
from taskhub.services.claims import task_claim, task_release
from taskhub.services.notes import Question, note_add
from taskhub.services.tasks import task_create
from taskhub.webhooks import jobs as webhook_jobs
from tests.agents.calls import acting

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]

ALL = (
    *(awake.WRITES, awake.EXECUTIONS, awake.CLAIMS, awake.WEBHOOKS),
    *(awake.SUBSCRIPTIONS, awake.SANDBOX_LIST),
)
Markers = Callable[[], set[str]]


@pytest.fixture
def markers() -> Iterator[Markers]:
    """Those that were set since the last call."""

    def take() -> set[str]:
        found = awake.read(ALL)
        awake.forget()
        with redis.Redis.from_url(settings.REDIS_URL) as client:
            client.delete(*(f"taskhub:awake:{marker}" for marker in ALL))
        return found

    take()
    yield take
    take()


def test_each_event_that_is_published_wakes_all_jobs(markers: Markers, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        task_create(actor=SYSTEM, title="t")
        assert markers() == set()
    assert markers() == {awake.WRITES}


def test_leases_are_looked_at_for_as_long_as_a_claim_is_held(markers: Markers, alice: User) -> None:
    task = task_create(actor=SYSTEM, title="t")
    jobs.claims_expire()
    assert markers() == set()
    task_claim(actor=acting(alice, "one"), task_id=task.pk)
    jobs.claims_expire()
    assert markers() == {awake.CLAIMS}
    task_release(actor=acting(alice, "one"), task_id=task.pk)
    assert not Claim.objects.filter(ended_at=None).exists()
    jobs.claims_expire()
    assert markers() == set()


def test_deadlines_are_looked_at_for_as_long_as_a_question_has_one(markers: Markers, alice: User) -> None:
    task = task_create(actor=SYSTEM, title="t")
    asker = acting(alice, "one")
    note_add(actor=asker, task_id=task.pk, kind="question", text="?")
    jobs.claims_expire()
    assert markers() == set()
    note_add(actor=SYSTEM, task_id=task.pk, kind="answer", text="!")
    asked = Question(deadline_s=600, assumes="yes")
    note_add(actor=asker, task_id=task.pk, kind="question", text="?", question=asked)
    jobs.claims_expire()
    assert markers() == {awake.CLAIMS}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"status": ExecutionStatus.QUEUED}, {awake.EXECUTIONS}),
        ({"status": ExecutionStatus.RUNNING, "lease_until": timezone.now(), "lease_s": 60}, {awake.EXECUTIONS}),
        ({"status": ExecutionStatus.FAILED, "retry_at": timezone.now() + timedelta(minutes=1)}, {awake.EXECUTIONS}),
        ({"status": ExecutionStatus.COMPLETED}, set()),
    ],
)
def test_executions_are_reconciled_for_as_long_as_one_is_under_way(
    markers: Markers, fields: dict[str, Any], expected: set[str]
) -> None:
    Execution.objects.create(script="true", timeout_s=60, session_name="s", log_file="l", **fields)
    jobs.executions_reconcile()
    assert markers() == expected


@pytest.mark.parametrize(("due_in_s", "expected"), [(5, {awake.WEBHOOKS}), (3600, set())])
def test_webhooks_are_delivered_at_their_pace_while_a_delivery_is_near(
    markers: Markers, due_in_s: int, expected: set[str]
) -> None:
    webhook_jobs.webhooks_deliver()
    assert markers() == set()
    endpoint = WebhookEndpoint.objects.create(url="https://a.example/", sealed_secret="x", cursor=0)
    due = timezone.now() + timedelta(seconds=due_in_s)
    WebhookDelivery.objects.create(endpoint=endpoint, event_type="t", body="{}", next_attempt_at=due, failures=3)
    webhook_jobs.webhooks_deliver()
    assert markers() == expected


def test_sandboxes_are_polled_from_the_first_subscription_on(markers: Markers, monkeypatch: Any) -> None:
    monkeypatch.setattr(sandbox_jobs, "_poll", lambda *_: None)
    sandbox_jobs.poll_status()
    assert markers() == set()
    write_report({"clients": {}, "counters": {}, "lag_events": 0, "lag_s": 0.0, "redis": True})
    opened = Subscription(kind=Watching.STATUS, sandbox_id="b", opened_at=timezone.now(), process=PROCESS_NAME)
    subscriptions_save(opened=[opened], closed=[])
    assert markers() == {awake.SUBSCRIPTIONS}
    sandbox_jobs.poll_status()
    assert markers() == {awake.SUBSCRIPTIONS}
    sandbox_jobs.poll_sessions()
    assert markers() == set()


def test_the_list_is_refreshed_from_the_first_look_on(markers: Markers, monkeypatch: Any) -> None:
    monkeypatch.setattr(sandbox_jobs, "_poll", lambda *_: None)
    list_note_look()
    assert markers() == {awake.SANDBOX_LIST}
    sandbox_jobs.poll_list()
    assert markers() == {awake.SANDBOX_LIST}
