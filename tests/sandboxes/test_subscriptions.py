"""Who watches: rows that appear, count and go, over web processes that die, are told to stop, or could not report."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import wait_until
from tests.sandboxes.ill_daytona import KEY, Daytona, Watched, events
from tests.streaming import until


def listed(watched: Watched, web: str = "two", token: str = "") -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {token}"} if token else watched.headers
    answer = httpx.get(f"{watched.address(web)}/api/subscriptions/", headers=headers, trust_env=False)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


def account(watched: Watched, name: str) -> str:
    """A token of an account of this name, which is made if it is not there."""
    return watched.manage("create_token", name, "--role", "agent").strip()


@pytest.fixture
def quiet(watched: Watched) -> Watched:
    """No sandbox is watched."""
    wait_until(lambda: watched.ask("Subscription.objects.count()") == 0, "no subscription is left")
    return watched


def test_subscriptions_are_listed_counted_and_gone_when_they_close(quiet: Watched, daytona: Daytona) -> None:
    sandbox_id, command_id = daytona.command("while :; do echo line; read -t 0.5; done")
    with (
        events(quiet.sse("one", sandboxId=sandbox_id)) as status,
        events(quiet.sse("two", sandboxId=sandbox_id, eventType="sessions")) as sessions,
        events(quiet.log_url("one", sandbox_id, command_id)) as lines,
    ):
        ids = {next(frames).json()["subscriptionId"] for frames in (status, sessions, lines)}
        wait_until(lambda: {row["id"] for row in listed(quiet)} == ids, "all are listed")
        rows = {row["eventType"]: row for row in listed(quiet)}
        assert set(rows) == {"sandbox-status", "sessions", "logs"}
        assert {(row["sandboxId"], row["address"]) for row in rows.values()} == {(sandbox_id, "127.0.0.1")}
        assert (rows["logs"]["sessionId"], rows["logs"]["commandId"]) == ("s", command_id)

        def counted() -> bool:
            counts = {row["eventType"]: row["events"] for row in listed(quiet)}
            return counts["sandbox-status"] == counts["sessions"] == 2 < counts["logs"]

        wait_until(counted, "the events are counted")
        quiet.ask("subscriptions_expire()")
        assert len(listed(quiet)) == 3, "their processes live"
    wait_until(lambda: quiet.ask("Subscription.objects.count()") == 0, "they are gone")


def test_a_process_that_only_shows_logs_holds_its_lease(quiet: Watched, daytona: Daytona) -> None:
    sandbox_id, command_id = daytona.command("sleep 60")
    quiet.start_web("three")
    try:
        with events(quiet.log_url("three", sandbox_id, command_id), headers=quiet.headers) as frames:
            next(frames)
            wait_until(lambda: bool(listed(quiet)), "it is listed")
            quiet.ask("subscriptions_expire()")
            assert len(listed(quiet)) == 1
    finally:
        quiet.processes.pop("three").end()


def test_everybody_sees_and_ends_their_own_and_an_operator_all(quiet: Watched, daytona: Daytona) -> None:
    sandbox_id = daytona.sandbox()
    alice, bob = account(quiet, "alice"), account(quiet, "bob")
    with (
        events(quiet.sse("one", sandboxId=sandbox_id), headers={"Authorization": f"Bearer {alice}"}) as of_alice,
        events(quiet.sse("two", sandboxId=sandbox_id), headers={"Authorization": f"Bearer {bob}"}) as of_bob,
    ):
        alices, bobs = (next(frames).json()["subscriptionId"] for frames in (of_alice, of_bob))
        wait_until(lambda: len(listed(quiet)) == 2, "both are listed")
        assert [row["id"] for row in listed(quiet, token=alice)] == [alices]
        assert [row["user"] for row in listed(quiet, token=bob)] == ["bob"]
        anonymous = httpx.get(f"{quiet.address('one')}/api/subscriptions/", trust_env=False)
        assert anonymous.status_code in {401, 403}

        def end(subscription_id: str, headers: dict[str, str]) -> int:
            url = f"{quiet.address('two')}/api/subscriptions/{subscription_id}"
            return httpx.delete(url, headers=headers, trust_env=False).status_code

        assert end(alices, {"Authorization": f"Bearer {bob}"}) == 404
        assert end(alices, {}) in {401, 403}
        # From the other process, within seconds.
        assert end(alices, quiet.headers) == 202
        goodbye = until(of_alice, lambda frame: frame.event == "disconnected")[-1].json()
        assert goodbye["reason"] == "ended_by_operator"
        assert goodbye["reconnect_in_ms"] > 0
        assert list(of_alice) == []
        assert end(bobs, {"Authorization": f"Bearer {bob}"}) == 202
        until(of_bob, lambda frame: frame.event == "disconnected")
    wait_until(lambda: not listed(quiet), "both are gone")
    assert end(alices, quiet.headers) == 404
    audited = quiet.ask("list(AuditEntry.objects.filter(action='subscription:disconnect').values_list('sandbox_id'))")
    assert audited.count([sandbox_id]) == 2


def test_what_was_lost_of_a_process_comes_back_also_of_an_account_that_was_deleted(
    quiet: Watched, daytona: Daytona
) -> None:
    sandbox_id = daytona.sandbox()
    carol = account(quiet, "carol")
    with (
        events(quiet.sse("one", sandboxId=sandbox_id), headers={"Authorization": f"Bearer {carol}"}) as of_carol,
        events(quiet.sse("one", sandboxId=sandbox_id)) as others,
    ):
        next(of_carol)
        mine = next(others).json()["subscriptionId"]
        next(others)
        wait_until(lambda: len(listed(quiet)) == 2, "both are listed")
        # Others took the process for dead, for it could not report; and carol's account goes with its rows.
        quiet.ask("User.objects.get(username='carol').delete()")
        quiet.ask("Subscription.objects.all().delete()")
        until(of_carol, lambda frame: frame.event == "disconnected")
        wait_until(lambda: [row["id"] for row in listed(quiet)] == [mine], "it is back")
        quiet.ask("poll_status()")
        assert next(others).event == "sandbox-status"


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[tuple[Watched, Daytona]]:
    """Two web processes with a worker and beat, and a Daytona whose minutes last a second."""
    (tmp_path / "hub").mkdir()
    daytona = Daytona(tmp_path / "daytona", "--minute-s", "1")
    watched = Watched(tmp_path / "hub", daytona)
    watched.start_web("one")
    watched.start_web("doomed")
    celery = ("-m", "celery", "--app", "config")
    watched.start("worker", *celery, "worker", "--loglevel", "WARNING", "--concurrency", "2")
    watched.start("beat", *celery, "beat", "--loglevel", "WARNING", "--schedule", str(tmp_path / "beat"))
    yield watched, daytona
    watched.end()
    daytona.close()


def test_worker_and_beat_poll_what_is_watched_keep_nothing_awake_and_clear_up_after_the_dead(
    whole: tuple[Watched, Daytona],
) -> None:
    watched, daytona = whole
    # Longer than the polls' periods: were a look an activity, it would never stop.
    sandbox_id = daytona.sandbox(autoStopInterval=12)
    daytona.session(sandbox_id)
    command_id = daytona.run(sandbox_id, "echo begun; sleep 300")
    with events(watched.sse("doomed", sandboxId=sandbox_id)) as frames:
        next(frames)
        wait_until(lambda: len(listed(watched, "one")) == 1, "it is listed")
        # A process that dies like this says nothing: what it held is let go when its lease has run out.
        watched.processes["doomed"].signal(signal.SIGKILL)
        assert watched.processes["doomed"].wait() == -signal.SIGKILL
    with (
        events(watched.sse("one", sandboxId=sandbox_id)) as status,
        events(watched.sse("one", sandboxId=sandbox_id, eventType="sessions")) as sessions,
        events(watched.log_url("one", sandbox_id, command_id)) as lines,
    ):
        until(lines, lambda frame: frame.event == "log")
        until(sessions, lambda frame: frame.event == "sessions-update" and frame.json()["changed"] is False)
        seen = until(status, lambda frame: frame.json().get("state") == "stopped", within_s=60)
        assert {frame.json()["source"] for frame in seen if frame.event == "sandbox-status"} >= {"poll", "push"}
        until(lines, lambda frame: frame.event == "log-error")
        until(sessions, lambda frame: frame.event == "sessions-update" and frame.json()["sessions"] == [])
        wait_until(lambda: watched.ask("Subscription.objects.count()") == 2, "the dead one's lease has ended", 75)
        assert {row["eventType"] for row in listed(watched, "one")} == {"sandbox-status", "sessions"}
    assert watched.ask("Poll.objects.get(pk='status').ticks") >= 3
    # The dashboard counts them.
    assert set(watched.ask("list(Heartbeat.objects.values_list('pk', flat=True))")) == {"beat", "worker"}
    assert {"poll_ms", "stream_seconds"} <= set(
        watched.ask("list(MetricSample.objects.values_list('name', flat=True))")
    )
    said = [line for process in watched.processes.values() for line in process.output]
    assert not [line for line in said if KEY in line]
    assert not [line for line in said if "Traceback" in line]
