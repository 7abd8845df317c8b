"""The polls, tick by tick: what they ask of Daytona, what they write, and what they tell."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.utils import timezone

from sandboxes.circuit_breaker import breaker
from sandboxes.jobs import (
    FORGET_SANDBOXES_AFTER,
    FORGET_STATES_AFTER,
    FORGET_WEBHOOKS_AFTER,
    observations_trim,
    poll_sessions,
    poll_status,
    subscriptions_expire,
)
from sandboxes.models import DaytonaWebhook, Poll, Sandbox, StateChange, Subscription, Watching
from sandboxes.services.subscriptions import LEASE
from sandboxes.watch import polling
from taskhub.events.publish import REDIS_CHANNEL
from taskhub.models import StreamProcess
from tests.processes import wait_until
from tests.sandboxes.ill_daytona import KEY, ONE, PAGE, SESSIONS, Daytona

pytestmark = pytest.mark.django_db


@pytest.fixture
def daytona(lonely_daytona: Daytona) -> Iterator[Daytona]:
    yield lonely_daytona
    if lonely_daytona.process is None:
        lonely_daytona.start()
    lonely_daytona.heal()


@pytest.fixture(autouse=True)
def at_this_daytona(settings, daytona: Daytona) -> Iterator[None]:
    settings.DAYTONA_API_URL = daytona.api_url
    settings.DAYTONA_API_KEY = KEY
    breaker.succeeded()
    yield
    breaker.succeeded()


class Listener:
    """What is announced, in its order."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._pubsub = client.pubsub(ignore_subscribe_messages=True)
        self._pubsub.subscribe(REDIS_CHANNEL)
        self._pubsub.get_message(timeout=60)  # the subscription itself

    def heard(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Channel, event and data of everything since the last call."""
        self._client.publish(REDIS_CHANNEL, "this far")
        found = []
        while True:
            message = self._pubsub.get_message(timeout=60)
            assert message is not None
            if message["data"] == b"this far":
                return found
            body = json.loads(message["data"])
            found.append((body["channel"], body["event_type"], json.loads(body["data"])))

    def close(self) -> None:
        self._pubsub.close()


@pytest.fixture
def listener(settings) -> Iterator[Listener]:
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        made = Listener(client)
        yield made
        made.close()


@pytest.fixture
def process() -> StreamProcess:
    return StreamProcess.objects.create(name="a-web-process", reported_at=timezone.now(), report={})


def watch(
    *sandbox_ids: str, kind: Watching = Watching.STATUS, process: str = "a-web-process", viewers: int = 1
) -> None:
    for sandbox_id in sandbox_ids * viewers:
        Subscription.objects.create(kind=kind, sandbox_id=sandbox_id, process=process, opened_at=timezone.now())


def by_sandbox(heard: list[tuple[str, str, dict[str, Any]]], event: str) -> dict[str, dict[str, Any]]:
    return {channel: data for channel, name, data in heard if name == event}


def last(name: str) -> Poll:
    return Poll.objects.get(pk=name)


def test_nothing_watched_is_nothing_asked(daytona: Daytona, listener: Listener, process: StreamProcess) -> None:
    with daytona.counted() as asked:
        poll_status()
        poll_sessions()
    assert (asked, listener.heard()) == ({}, [])


def test_what_only_a_dead_process_watches_is_not_asked_for(
    daytona: Daytona, process: StreamProcess, pass_time: Callable[[float], None]
) -> None:
    watch(daytona.sandbox())
    StreamProcess.objects.update(reported_at=timezone.now() - LEASE - timedelta(seconds=1))
    with daytona.counted() as asked:
        poll_status()
    assert asked == {}
    subscriptions_expire()
    assert Subscription.objects.exists()
    pass_time(LEASE.total_seconds())
    subscriptions_expire()
    assert not Subscription.objects.exists()


def test_a_few_are_asked_for_singly_once_whatever_the_number_of_viewers(
    daytona: Daytona, listener: Listener, process: StreamProcess
) -> None:
    ids = [daytona.sandbox() for _ in range(polling.FEW)]
    watch(*ids, viewers=5)
    watch(ids[0], kind=Watching.SESSIONS)
    with daytona.counted() as asked:
        poll_status()
    assert asked == {ONE: 3}
    told = by_sandbox(listener.heard(), "sandbox-status")
    assert {data["id"] for data in told.values()} == set(ids)
    assert (last("status").watched, last("status").requests, last("status").error_code) == (3, 3, "")


def test_more_than_a_few_are_taken_from_a_page_and_the_rest_singly(
    daytona: Daytona, listener: Listener, process: StreamProcess
) -> None:
    ids = [daytona.sandbox() for _ in range(6)]
    watch(*ids)
    with daytona.counted() as asked:
        poll_status()
    assert asked == {PAGE: 1}
    assert len(by_sandbox(listener.heard(), "sandbox-status")) == 6
    # A page that lags behind: it lacks one, and shows another as it was before.
    items = daytona.call("GET", "/api/sandbox?limit=200")["items"]
    page = [item for item in items if item["id"] in ids[1:]]
    daytona.call("POST", f"/api/sandbox/{ids[1]}/stop")
    wait_until(lambda: daytona.call("GET", f"/api/sandbox/{ids[1]}")["state"] == "stopped", "it is stopped")
    Sandbox.objects.filter(pk=ids[1]).update(document=daytona.call("GET", f"/api/sandbox/{ids[1]}"), state="stopped")
    daytona.fault(r"GET /api/sandbox\?", status=200, body={"items": page, "nextCursor": None})
    with daytona.counted() as asked:
        poll_status()
    assert asked == {PAGE: 1, ONE: 2}
    told = by_sandbox(listener.heard(), "sandbox-status")
    assert {data["id"]: data["state"] for data in told.values()} == {
        sandbox_id: "stopped" if sandbox_id == ids[1] else "started" for sandbox_id in ids
    }


def test_an_older_description_overwrites_nothing(daytona: Daytona, listener: Listener, process: StreamProcess) -> None:
    sandbox_id = daytona.sandbox()
    watch(sandbox_id)
    older = daytona.call("GET", f"/api/sandbox/{sandbox_id}")
    poll_status()
    known = Sandbox.objects.get(pk=sandbox_id)
    known.document |= {"state": "stopped", "updatedAt": "2999-01-01T00:00:00.000Z"}
    known.state = "stopped"
    known.save()
    daytona.fault(f"GET /api/sandbox/{sandbox_id}", status=200, body=older, times=1)
    listener.heard()
    poll_status()
    ((_, _, data),) = listener.heard()
    assert (data["state"], data["changed"]) == ("stopped", False)
    assert Sandbox.objects.get(pk=sandbox_id).state == "stopped"


def test_one_that_is_ill_keeps_no_other_from_its_viewers(
    daytona: Daytona, listener: Listener, process: StreamProcess
) -> None:
    ids = [daytona.sandbox() for _ in range(3)]
    watch(*ids)
    daytona.fault(f"GET /api/sandbox/{ids[1]}", status=500, body={"message": KEY})
    poll_status()
    heard = listener.heard()
    assert {data["id"] for data in by_sandbox(heard, "sandbox-status").values()} == {ids[0], ids[2]}
    ((channel, trouble),) = by_sandbox(heard, "error").items()
    assert (channel, trouble["code"]) == (f"sandbox-{ids[1]}-status", "sandbox_unavailable")
    assert KEY not in json.dumps(heard)
    assert last("status").error_code == "sandbox_unavailable"


@pytest.mark.parametrize("many", [False, True])
def test_a_daytona_that_hangs_is_given_up_within_the_tick(
    daytona: Daytona, listener: Listener, process: StreamProcess, settings, many: bool
) -> None:
    settings.SANDBOX_STATUS_S = 1.0
    ids = [daytona.sandbox() for _ in range(5 if many else 2)]
    watch(*ids)
    daytona.fault(r"GET /api/sandbox\?" if many else f"GET /api/sandbox/{ids[0]}", hang_s=60)
    poll_status()
    heard = listener.heard()
    troubles = by_sandbox(heard, "error")
    assert {data["code"] for data in troubles.values()} == {"sandbox_unavailable"}
    assert {data["retry_in_ms"] for data in troubles.values()} == {1000}
    assert len(troubles) == (5 if many else 1)
    assert len(by_sandbox(heard, "sandbox-status")) == (0 if many else 1)


def test_a_tick_that_meets_another_is_skipped_and_counted(daytona: Daytona, process: StreamProcess, settings) -> None:
    watch(daytona.sandbox())
    with redis.Redis.from_url(settings.REDIS_URL) as client, client.lock("taskhub:poll:status", timeout=60):
        with daytona.counted() as asked:
            poll_status()
        assert asked == {}
        assert (last("status").ticks, last("status").skipped) == (0, 1)
        poll_sessions()  # the other poll has a lock of its own
    poll_status()
    assert (last("status").ticks, last("status").skipped) == (1, 1)


@pytest.mark.parametrize("key", ["", "a-wrong-key"])
def test_a_key_that_is_missing_or_refused_is_told_to_all(
    daytona: Daytona, listener: Listener, process: StreamProcess, settings, key: str
) -> None:
    settings.DAYTONA_API_KEY = key
    ids = [daytona.sandbox() for _ in range(4)]
    watch(*ids)
    watch(ids[0], kind=Watching.SESSIONS)
    poll_status()
    poll_sessions()
    heard = listener.heard()
    assert set(by_sandbox(heard, "error")) == {
        *(f"sandbox-{sandbox_id}-status" for sandbox_id in ids),
        f"sandbox-{ids[0]}-sessions",
    }
    assert {data["code"] for data in by_sandbox(heard, "error").values()} == {"sandbox_key_refused"}
    assert not Sandbox.objects.filter(state="destroyed").exists()


def test_a_429_keeps_the_polls_away_for_as_long_as_it_says(daytona: Daytona, process: StreamProcess) -> None:
    watch(*[daytona.sandbox() for _ in range(4)])
    daytona.fault(r"GET /api/sandbox\?", status=429, headers={"Retry-After-authenticated": "60"}, times=1)
    with daytona.counted() as asked:
        poll_status()
        poll_status()
        poll_sessions()
    assert asked == {PAGE: 1}


def test_a_sandbox_that_is_gone_is_told_to_all_its_viewers(
    daytona: Daytona, listener: Listener, process: StreamProcess
) -> None:
    gone, other = daytona.sandbox(), daytona.sandbox()
    watch(gone, other, kind=Watching.SESSIONS)
    poll_sessions()
    poll_sessions()
    daytona.call("DELETE", f"/api/sandbox/{gone}")
    wait_until(lambda: daytona.http.get(f"/api/sandbox/{gone}").status_code == 404, "it is gone")
    listener.heard()
    poll_sessions()
    heard = listener.heard()
    goodbyes = [(channel, data["reason"]) for channel, name, data in heard if name == "disconnected"]
    assert goodbyes == [
        (f"sandbox-{gone}-status", "sandbox_destroyed"),
        (f"sandbox-{gone}-sessions", "sandbox_destroyed"),
    ]
    assert list(by_sandbox(heard, "sessions-update")) == [f"sandbox-{other}-sessions"]
    assert Sandbox.objects.get(pk=gone).state == "destroyed"


def test_a_door_that_refuses_does_not_make_a_living_sandbox_gone(
    daytona: Daytona, listener: Listener, process: StreamProcess
) -> None:
    """At a sandbox's door a bad key and a sandbox that is gone look alike: Daytona itself is asked."""
    sandbox_id = daytona.sandbox()
    watch(sandbox_id, kind=Watching.SESSIONS)
    poll_sessions()
    for status in (401, 404):
        daytona.fault(f"GET /toolbox/{sandbox_id}/process/session$", status=status, times=1)
        listener.heard()
        with daytona.counted() as asked:
            poll_sessions()
        assert asked == {SESSIONS: 1, ONE: 1}
        ((_, event, data),) = listener.heard()
        assert (event, data["code"]) == ("error", "sandbox_unavailable")


def test_old_webhooks_and_sandboxes_that_nobody_looks_at_are_forgotten() -> None:
    DaytonaWebhook.objects.create(pk="new")
    DaytonaWebhook.objects.create(pk="old")
    DaytonaWebhook.objects.filter(pk="old").update(received_at=timezone.now() - 2 * FORGET_WEBHOOKS_AFTER)
    Sandbox.objects.create(pk="new", seen_at=timezone.now())
    Sandbox.objects.create(pk="old", seen_at=timezone.now() - 2 * FORGET_SANDBOXES_AFTER)
    for seen, state in ((timezone.now(), "started"), (timezone.now() - 2 * FORGET_STATES_AFTER, "creating")):
        StateChange.objects.create(sandbox_id="new", state=state, at=seen)
    observations_trim()
    assert [change.state for change in StateChange.objects.all()] == ["started"]
    assert list(DaytonaWebhook.objects.values_list("pk", flat=True)) == ["new"]
    assert list(Sandbox.objects.values_list("pk", flat=True)) == ["new"]
