"""Ticks: a periodic job that is taken too late, or twice, does not run."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from celery import Celery, current_app
from django.conf import settings

from taskhub.lib import event_loops, ticks
from taskhub.lib.beat import MonotonicEntry, MonotonicScheduler
from tests.processes import free_port, wait_until


def test_a_tick_is_good_once() -> None:
    tick = ticks.issue(60)
    assert (ticks.take(tick), ticks.take(tick)) == (True, False)


def test_a_tick_expires() -> None:
    tick = ticks.issue(0.001)
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        wait_until(lambda: not client.exists(f"taskhub:tick:{tick}"), "it has expired")
    assert not ticks.take(tick)


def test_while_redis_is_away_no_tick_counts_as_expired(settings: Any) -> None:
    tick = ticks.issue(60)
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    assert ticks.take(tick)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[None]]:
    """A job of the hub's kind, and its runs."""
    # A worker lends its loop to the thread of the job; here it is the thread of all tests.
    monkeypatch.setattr(event_loops, "lend_loop", lambda: None)
    runs: list[None] = []

    @current_app.task(name="tests.job", shared=False)
    def job() -> None:
        runs.append(None)

    return job, runs


@pytest.mark.django_db
@pytest.mark.sqlite_suffices
def test_a_job_whose_tick_has_expired_does_not_run(ran: tuple[Any, list[None]]) -> None:
    job, runs = ran
    good = ticks.issue(60)
    for tick in (good, good, "of another time"):
        job.apply(headers={ticks.HEADER: tick})
    assert len(runs) == 1
    job.apply()
    assert len(runs) == 2


def test_beat_sends_a_tick_in_the_place_of_an_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery("beat-of-a-test", set_as_current=False)
    app.conf.beat_schedule = {"often": {"task": "tests.job", "schedule": 1.0, "options": {"expires": 60}}}
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(app, "send_task", lambda *_, **options: sent.append(options))
    scheduler = MonotonicScheduler(app)
    monkeypatch.setattr(MonotonicScheduler, "producer", None)
    scheduler.apply_entry(scheduler.schedule["often"])
    (options,) = sent
    assert "expires" not in options
    assert ticks.take(options["headers"][ticks.HEADER])


@pytest.mark.parametrize("every", ["* * * * *", None])
def test_beat_has_intervals_alone(every: Any) -> None:
    with pytest.raises(TypeError, match="an interval in seconds"):
        MonotonicEntry(name="a", task="b", schedule=every, app=current_app)
