"""Ticks: a periodic job that is taken too late, or twice, does not run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import Celery, current_app
from django.conf import settings

from taskhub.lib import awake, beat, event_loops, ticks
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


class Beat:
    """A scheduler whose job has a marker, its clock, and the seconds at which it sent the job."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.sent: list[float] = []
        app = Celery("beat-at-rest", set_as_current=False)
        job = {"task": "tests.job", "schedule": 1.0, "options": {"at_rest": (awake.CLAIMS, 5.0)}}
        app.conf.beat_schedule = {"looks": job}
        monkeypatch.setattr(app, "send_task", self._send)
        monkeypatch.setattr(MonotonicScheduler, "producer", None)
        monkeypatch.setattr(beat.time, "monotonic", lambda: self.now)
        self._scheduler = MonotonicScheduler(app)

    def _send(self, *_: Any, **options: Any) -> None:
        assert "at_rest" not in options
        self.sent.append(self.now - 1000.0)

    def tick(self) -> float:
        """Seconds until the next one."""
        return self._scheduler.tick()

    def pass_s(self, seconds: int) -> list[float]:
        """What was sent meanwhile."""
        before = len(self.sent)
        for _ in range(seconds):
            self._scheduler.apply_entry(self._scheduler.schedule["looks"])
            self.now += 1.0
        return self.sent[before:]


@pytest.fixture
def no_markers() -> Iterator[None]:
    """Redis is that of all tests."""

    def forget() -> None:
        awake.forget()
        with redis.Redis.from_url(settings.REDIS_URL) as client:
            client.delete(*(f"taskhub:awake:{marker}" for marker in (awake.CLAIMS, awake.WEBHOOKS, awake.WRITES)))

    forget()
    yield
    forget()


@pytest.mark.usefixtures("no_markers")
@pytest.mark.parametrize("marker", [awake.CLAIMS, awake.WRITES])
def test_beat_sends_a_job_at_rest_seldom_and_at_its_pace_while_there_is_work(
    monkeypatch: pytest.MonkeyPatch, marker: str
) -> None:
    scheduler = Beat(monkeypatch)
    assert scheduler.pass_s(11) == [0, 5, 10]
    awake.note(awake.WEBHOOKS)  # no work of this job's
    assert scheduler.pass_s(2) == []
    awake.note(marker)
    assert scheduler.pass_s(3) == [13, 14, 15]


@pytest.mark.usefixtures("no_markers")
def test_beat_begins_at_once_and_makes_up_for_no_turn_that_was_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = Beat(monkeypatch)
    assert scheduler.tick() == 1.0
    scheduler.now += 0.9
    assert scheduler.tick() == pytest.approx(0.1)
    scheduler.now += 20.0
    assert scheduler.tick() == 1.0
    assert scheduler.sent == pytest.approx([0.0, 20.9])


@pytest.mark.usefixtures("no_markers")
def test_beat_leaves_no_job_out_while_redis_is_away(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """The jobs fail, as they would, and are tried again at their pace."""
    scheduler = Beat(monkeypatch)
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    assert scheduler.pass_s(3) == [0, 1, 2]


@pytest.mark.usefixtures("no_markers")
def test_a_marker_expires_and_is_set_again_after_a_second() -> None:
    key = f"taskhub:awake:{awake.CLAIMS}"
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        awake.note(awake.CLAIMS)
        assert 0 < client.pttl(key) <= 1000 * awake.KEPT_S
        client.delete(key)
        awake.note(awake.CLAIMS)
        assert not client.exists(key)
        awake.forget()
        awake.note(awake.CLAIMS)
        assert client.exists(key)


def test_a_marker_outlives_the_period_of_each_job_that_sets_it_again() -> None:
    for job in settings.CELERY_BEAT_SCHEDULE.values():
        if "at_rest" in job["options"]:
            assert job["schedule"] + 5 < awake.KEPT_S


@pytest.mark.parametrize("every", ["* * * * *", None])
def test_beat_has_intervals_alone(every: Any) -> None:
    with pytest.raises(TypeError, match="an interval in seconds"):
        MonotonicEntry(name="a", task="b", schedule=every, app=current_app)
