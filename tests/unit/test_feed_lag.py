"""The lag of streams, on which the alert TaskHubStreamsBehind stands."""

from __future__ import annotations

from typing import Any

import pytest

from taskhub.events import feed as feed_module
from taskhub.events.feed import Feed, Reader, TableReader
from taskhub.events.hub import Hub


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(feed_module, "time", made)
    return made


@pytest.fixture
def feed(clock: Clock) -> Feed:
    made = Feed("tasks", TableReader())
    made.head = 10
    return made


def reader_at(feed: Feed, cursor: int) -> Reader:
    made = Reader(cursor)
    feed.readers.add(made)
    return made


def test_without_streams_or_with_all_of_them_complete_nothing_lags(feed: Feed) -> None:
    assert feed.lag() == (0, 0.0)
    reader_at(feed, 10)
    assert feed.lag() == (0, 0.0)


def test_the_lag_is_the_slowest_streams_in_events_and_in_seconds_since_it_had_everything(
    feed: Feed, clock: Clock
) -> None:
    quick, slow = reader_at(feed, 10), reader_at(feed, 10)
    clock.now += 50
    assert feed.lag() == (0, 0.0), "a quiet channel is no lag"
    feed.head = 14
    clock.now += 3
    quick.cursor, slow.cursor = 14, 11
    assert feed.lag() == (3, 3.0)
    feed.head = 15
    clock.now += 2
    assert feed.lag() == (4, 5.0), "the quick one is behind as well, since 2 s"
    slow.cursor = 15
    assert feed.lag() == (1, 2.0)
    quick.cursor = 15
    assert feed.lag() == (0, 0.0)
    clock.now += 60
    feed.head = 16
    assert feed.lag() == (1, 60.0), "no reader asked since"


def test_a_process_reports_the_slowest_of_all_its_channels(feed: Feed, clock: Clock) -> None:
    other: Any = Feed("logs-1", TableReader())
    other.head = 3
    reader_at(other, 1)
    reader_at(feed, 9)
    clock.now += 1.2345
    hub = Hub()
    hub._feeds.update({"tasks": feed, "logs-1": other})
    report = hub.report()
    assert (report["lag_events"], report["lag_s"]) == (2, 1.234)
