"""Leases and heartbeats are judged on the monotonic clock."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from taskhub.lib import leases
from taskhub.lib.leases import Watch
from taskhub.observability.heartbeat import ages


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(clock: Clock) -> Watch:
    return Watch(clock)


def test_a_lease_is_past_when_its_row_stays_the_same_for_its_length(watch: Watch, clock: Clock) -> None:
    assert not watch.lease_is_past("row", 1, 15)
    clock.now += 14.9
    assert not watch.lease_is_past("row", 1, 15)
    clock.now += 0.2
    assert watch.lease_is_past("row", 1, 15)


def test_a_renewal_begins_anew(watch: Watch, clock: Clock) -> None:
    watch.lease_is_past("row", 1, 15)
    clock.now += 14
    assert not watch.lease_is_past("row", 2, 15)
    clock.now += 14
    assert not watch.lease_is_past("row", 2, 15)
    clock.now += 1
    assert watch.lease_is_past("row", 2, 15)


def test_a_restart_waits_for_one_whole_lease(watch: Watch, clock: Clock) -> None:
    watch.lease_is_past("row", 1, 15)
    clock.now += 100
    watch.forget()
    assert not watch.lease_is_past("row", 1, 15)


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(hours=1)])
def test_a_moment_comes_when_it_would_have_though_the_wall_clock_is_set(
    watch: Watch, clock: Clock, monkeypatch: pytest.MonkeyPatch, step: timedelta
) -> None:
    now = timezone.now()
    moment = now + timedelta(seconds=30)
    monkeypatch.setattr(leases.timezone, "now", lambda: now)
    assert not watch.moment_is_past("row", moment, timedelta(minutes=1))
    monkeypatch.setattr(leases.timezone, "now", lambda: now + step)
    assert not watch.moment_is_past("row", moment, timedelta(minutes=1))
    clock.now += 30
    assert watch.moment_is_past("row", moment, timedelta(minutes=1))


def test_a_moment_is_never_further_ahead_than_it_can_be(watch: Watch, clock: Clock) -> None:
    """The clock was set back before this process saw it."""
    moment = timezone.now() + timedelta(hours=1)
    assert not watch.moment_is_past("row", moment, timedelta(seconds=5))
    clock.now += 5
    assert watch.moment_is_past("row", moment, timedelta(seconds=5))


def test_a_moment_that_has_been_is_past_at_first_sight(watch: Watch) -> None:
    assert watch.moment_is_past("row", timezone.now() - timedelta(seconds=1), timedelta(hours=1))


def test_only_so_many_rows_are_remembered(watch: Watch, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "REMEMBERED", 2)
    for row in ("a", "b", "a", "c"):
        watch.lease_is_past(row, 1, 15)
    clock.now += 15
    assert watch.lease_is_past("a", 1, 15)
    assert not watch.lease_is_past("b", 1, 15)


def test_a_heartbeats_age_is_between_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("taskhub.observability.heartbeat.time.monotonic", clock)
    first, second = timezone.now(), timezone.now() + timedelta(seconds=5)
    assert ages.of("beat", first, 3) == 3
    clock.now += 2
    assert ages.of("beat", second, 3601) == 2  # the wall clock was set forward
    clock.now += 4
    assert ages.of("beat", second, -3590) == 4  # and back
