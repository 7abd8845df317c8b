"""A Redis that hangs delays events by seconds; it loses none, repeats none, and resets no stream."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from live_client import HubClient, envelopes

from tests.processes import RunningHub
from tests.streaming import until


@pytest.fixture
def hanging_redis(own_hub: RunningHub) -> Iterator[HubClient]:
    """The client of a hub that has events from before its first stream, and whose Redis then stopped answering."""
    client = HubClient(own_hub)
    for n in range(3):
        client.create_task(f"before the first stream {n}")
    with client.events() as frames:
        assert next(frames).json()["event"] == "connected"
    redis = own_hub.child_pid("redis.sock")
    os.kill(redis, signal.SIGSTOP)
    yield client
    os.kill(redis, signal.SIGCONT)


def test_resuming_ahead_of_the_notifications_repeats_nothing(hanging_redis: HubClient) -> None:
    for n in range(3):
        task_id = hanging_redis.create_task(f"late {n}")
        with hanging_redis.events(lastEventId="tasks:0") as frames:
            seen = until(frames, lambda frame, wanted=task_id: wanted in frame.data)
            # The next event ends the reading; what the table gave must not come again before it.
            last = hanging_redis.create_task(f"the mark {n}")
            seen += until(frames, lambda frame, wanted=last: wanted in frame.data)
        assert "stream-reset" not in [each["event"] for each in envelopes(seen)]
        numbers = [frame.number for frame in seen if frame.data]
        assert numbers == list(range(len(numbers)))


def test_id_that_this_process_has_not_heard_of_yet_is_no_unknown_one(hanging_redis: HubClient) -> None:
    newest = 3
    for n in range(3):
        hanging_redis.create_task(f"late {n}")
        newest += 1
        with hanging_redis.events(lastEventId=f"tasks:{newest}") as frames:
            assert next(frames).json()["event"] == "connected"
            task_id = hanging_redis.create_task(f"the next {n}")
            newest += 1
            following = next(frames)
        assert following.json()["event"] == "task_created"
        assert following.json()["data"]["task_id"] == task_id
