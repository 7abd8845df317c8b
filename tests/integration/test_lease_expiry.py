"""Leases, reservations and retries while the wall clock is wrong: only what this process has seen counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from taskhub.models import AdmissionState, DeliveryStatus, Execution, ExecutionStatus, WebhookDelivery, WebhookEndpoint
from taskhub.services import admission, capacity, execution_leases
from taskhub.services.execution_leases import UNKNOWN_S, executions_expire_leases
from taskhub.services.idempotency import Asked, InProgress, Reservation, idempotency_reserve
from taskhub.web.thread_pool import wait_here
from taskhub.webhooks.queue import deliveries_claim
from taskhub.worker.conductor import Conductor
from taskhub.worker.following import Following, deadline_of

PassTime = Callable[[float], None]
HOUR = timedelta(hours=1)
STEPS = pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["forward", "back"])
"""How the wall clock was set after a row was written."""

pytestmark = pytest.mark.django_db


def running(step: timedelta, *, lease_s: float | None = 15) -> Execution:
    """Leased just now, by the wall clock before it was set."""
    until = timezone.now() + timedelta(seconds=15) - step
    return Execution.objects.create(
        status=ExecutionStatus.RUNNING,
        script="true",
        timeout_s=60,
        session_name="s",
        log_file="l",
        fence=1,
        lease_until=until,
        lease_s=lease_s,
        started_at=timezone.now() - step,
    )


def taken(execution: Execution) -> Execution | None:
    return execution_leases.execution_take_lease(execution_id=execution.pk, status=ExecutionStatus.RUNNING, lease_s=15)


@STEPS
def test_an_executions_lease_lasts_for_its_length_whatever_the_wall_clock_says(
    step: timedelta, pass_time: PassTime
) -> None:
    execution = running(step)
    assert executions_expire_leases() == []
    pass_time(14)
    assert executions_expire_leases() == []
    assert taken(execution) is None
    pass_time(1)
    assert executions_expire_leases() == [execution.pk]
    assert taken(execution) is not None
    # The first holder comes back to life: its word counts no more.
    assert not execution_leases.execution_extend_lease(execution=execution, lease_s=15)


@STEPS
def test_a_lease_that_is_renewed_stays(step: timedelta, pass_time: PassTime) -> None:
    execution = running(step)
    for _ in range(5):
        assert executions_expire_leases() == []
        pass_time(10)
        execution_leases.executions_seen(fences={execution.pk: execution.fence}, renew_s=15)


def test_a_lease_without_a_length_is_an_older_releases(pass_time: PassTime) -> None:
    execution = running(timedelta(), lease_s=None)
    assert executions_expire_leases() == []
    pass_time(UNKNOWN_S - 1)
    assert executions_expire_leases() == []
    pass_time(1)
    assert executions_expire_leases() == [execution.pk]


def test_a_renewal_in_the_last_moment_wins(pass_time: PassTime, monkeypatch: pytest.MonkeyPatch) -> None:
    execution = running(timedelta())
    executions_expire_leases()
    pass_time(15)

    def judged(*_: object) -> bool:
        execution_leases.executions_seen(fences={execution.pk: execution.fence}, renew_s=15)
        return True

    monkeypatch.setattr("taskhub.services.execution_leases.watch.lease_is_past", judged)
    assert executions_expire_leases() == []
    execution.refresh_from_db()
    assert execution.lease_until is not None


@STEPS
def test_a_reserved_key_is_under_way_for_as_long_as_its_request_may_take(
    step: timedelta, pass_time: PassTime, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(alice.pk, "5c" * 32, "POST sandboxes", "body")
    first = idempotency_reserve(asked, for_s=60)
    assert isinstance(first, Reservation)
    real = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: real() + step)
    for _ in range(2):
        with pytest.raises(InProgress):
            idempotency_reserve(asked, for_s=60)
        pass_time(30)
    again = idempotency_reserve(asked, for_s=60)
    assert again == Reservation(first.label, is_repeat=True)


def pending(**fields: object) -> WebhookDelivery:
    endpoint = WebhookEndpoint.objects.create(url="https://a.example/", sealed_secret="x", cursor=0)
    values = {"next_attempt_at": timezone.now(), **fields}
    return WebhookDelivery.objects.create(endpoint=endpoint, event_type="t", body="{}", **values)


@STEPS
def test_a_deliverys_lease_lasts_for_its_length(step: timedelta, pass_time: PassTime) -> None:
    pending(next_attempt_at=timezone.now() - 2 * HOUR, lease_until=timezone.now() + timedelta(seconds=30) - step)
    assert deliveries_claim() == []
    pass_time(29)
    assert deliveries_claim() == []
    pass_time(1)
    assert len(deliveries_claim()) == 1


def test_a_retry_comes_in_time_though_the_clock_was_set_back(pass_time: PassTime) -> None:
    retried = pending(failures=1, next_attempt_at=timezone.now() + timedelta(seconds=5) + HOUR)
    assert deliveries_claim() == []
    pass_time(6)
    assert [delivery.pk for delivery in deliveries_claim()] == [retried.pk]
    # One that has never been tried is due at once.
    WebhookDelivery.objects.update(status=DeliveryStatus.DELIVERED)
    new = pending(next_attempt_at=timezone.now() + HOUR)
    assert [delivery.pk for delivery in deliveries_claim()] == [new.pk]


def test_starts_go_on_in_time_though_the_clock_was_set_back(pass_time: PassTime) -> None:
    """The service was full; the next try is due in five seconds, by the clock before it was set."""
    execution = running(timedelta())
    Execution.objects.update(status=ExecutionStatus.QUEUED, lease_until=None, lease_s=None)
    ahead = timezone.now() + HOUR + timedelta(seconds=5)
    AdmissionState.objects.create(ceiling=0, ceiling_at=timezone.now() + HOUR, retry_at=ahead)
    assert admission.executions_admit() == []
    pass_time(admission.TRY_TAKES.total_seconds() - 1)
    assert admission.executions_admit() == []
    pass_time(1)
    assert admission.executions_admit() == [execution.pk]


def test_a_scripts_time_limit_is_never_longer_than_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    execution = running(timedelta())
    monkeypatch.setattr("taskhub.worker.following.time.monotonic", lambda: 1000.0)
    before = deadline_of(execution)
    assert 1059 < before <= 1060
    execution.started_at = timezone.now() + HOUR  # it began before the clock was set back
    assert deadline_of(execution) == 1060


def test_a_clock_that_is_set_between_start_and_first_look_takes_no_time() -> None:
    """The row has the clock of before, and no tick has seen the step yet."""
    execution = running(timedelta(hours=1))
    execution.command_id = "c"
    taken_over, started = (Following(execution, is_first=is_first) for is_first in (False, True))
    assert taken_over._deadline < time.monotonic()
    assert 50 < started._deadline - time.monotonic() <= 60
    for following in (taken_over, started):
        wait_here(following._log.close)


@STEPS
def test_the_next_worker_gives_a_script_what_it_has_left_though_the_clock_was_set(
    step: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker that followed it has seen the step, by the difference of its two clocks, and has put it in the row."""
    execution = running(timedelta())
    Execution.objects.filter(pk=execution.pk).update(started_at=timezone.now() - timedelta(seconds=20))
    execution.refresh_from_db()
    conductor = Conductor()
    conductor._hold(execution)
    wall, now = time.time, timezone.now
    monkeypatch.setattr(time, "time", lambda: wall() + step.total_seconds())
    monkeypatch.setattr(timezone, "now", lambda: now() + step)
    for _ in range(2):  # the second tick finds nothing new
        wait_here(conductor._tick)
    execution.refresh_from_db()
    left_s = deadline_of(execution) - time.monotonic()
    assert 30 < left_s <= 40


def test_a_clock_that_is_slewed_is_not_followed() -> None:
    execution = running(timedelta())
    began = execution.started_at
    conductor = Conductor()
    conductor._hold(execution)
    conductor._clock_offset -= 1
    wait_here(conductor._tick)
    execution.refresh_from_db()
    assert execution.started_at == began


def test_a_start_whose_worker_died_is_not_taken_back(pass_time: PassTime) -> None:
    """When the service is full, starts that no worker has begun go back to the queue; this one may have a sandbox."""
    begun, unbegun, refused = (running(timedelta()) for _ in range(3))
    Execution.objects.update(status=ExecutionStatus.STARTING)
    Execution.objects.filter(pk=begun.pk).update(attempts=1)
    Execution.objects.filter(pk=unbegun.pk).update(lease_until=None, lease_s=None)
    executions_expire_leases()
    pass_time(15)
    execution_leases.executions_seen(fences={refused.pk: refused.fence}, renew_s=15)
    assert executions_expire_leases() == [begun.pk]
    refused.refresh_from_db()
    capacity.admission_note_full(execution=refused)
    stand = dict(Execution.objects.values_list("pk", "status"))
    assert stand == {begun.pk: "starting", unbegun.pk: "queued", refused.pk: "queued"}
