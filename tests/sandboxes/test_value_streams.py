"""`/sse` for status and sessions, on real web processes; the polls happen when a test says so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from django.http import QueryDict
from hypothesis import given
from hypothesis import strategies as st

from sandboxes.api.sse_params import read_wanted
from taskhub.errors import Invalid
from tests.processes import wait_until
from tests.sandboxes.ill_daytona import KEY, ONE, PAGE, Daytona, Watched, events
from tests.streaming import Frame, until

STATUS = "sandbox-status"


@contextmanager
def watching(watched: Watched, web: str = "one", **query: str) -> Iterator[Iterator[Frame]]:
    """A stream whose subscription is saved, so that the next poll knows of it."""
    with events(watched.sse(web, **query)) as frames:
        first = next(frames)
        assert first.event == "connected"
        subscription = first.json()["subscriptionId"]
        wait_until(lambda: watched.ask(f"Subscription.objects.filter(pk='{subscription}').exists()"), "it is saved")
        yield frames


def next_of(frames: Iterator[Frame], event: str) -> dict[str, Any]:
    return dict(until(frames, lambda frame: frame.event == event)[-1].json())


def get(url: str) -> httpx.Response:
    """An answer that is no stream."""
    return httpx.get(url, trust_env=False)


def test_status_and_sessions_are_told_on_connect(watched: Watched, daytona: Daytona) -> None:
    sandbox_id = daytona.sandbox(env={"SECRET": "not for viewers"})
    daytona.session(sandbox_id, "b")
    daytona.session(sandbox_id, "a")
    with watching(watched, sandboxId=sandbox_id) as frames:
        frame = next(frames)
        value = frame.json()
        assert frame.event == STATUS
        assert (value["id"], value["state"], value["changed"], value["source"]) == (
            sandbox_id,
            "started",
            False,
            "poll",
        )
        assert "not for viewers" not in frame.data
    with watching(watched, sandboxId=sandbox_id, eventType="sessions") as frames:
        value = next_of(frames, "sessions-update")
        assert value["sandboxId"] == sandbox_id
        assert [session["sessionId"] for session in value["sessions"]] == ["a", "b"]


def test_a_sandbox_may_be_watched_by_its_name(watched: Watched, daytona: Daytona) -> None:
    sandbox_id = daytona.sandbox(name="by-its-name")
    with watching(watched, sandboxId="by-its-name") as frames:
        assert next(frames).json()["id"] == sandbox_id
        watched.ask("poll_status()")
        assert next(frames).json()["id"] == sandbox_id


def test_one_poll_tells_all_viewers_and_asks_once(watched: Watched, daytona: Daytona) -> None:
    sandbox_id = daytona.sandbox()
    with (
        watching(watched, "one", sandboxId=sandbox_id) as first,
        watching(watched, "one", sandboxId=sandbox_id) as second,
        watching(watched, "two", sandboxId=sandbox_id) as third,
    ):
        for frames in (first, second, third):
            next(frames)
        with daytona.counted() as asked:
            watched.ask("poll_status()")
        assert asked[ONE] == 1
        assert PAGE not in asked
        values = [next_of(frames, STATUS) for frames in (first, second, third)]
        assert values[0] == values[1] == values[2]
        assert values[0]["source"] == "poll"


def test_sessions_that_come_and_go_are_told_with_the_next_poll(watched: Watched, daytona: Daytona) -> None:
    sandbox_id = daytona.sandbox()
    with watching(watched, sandboxId=sandbox_id, eventType="sessions") as frames:
        assert next(frames).json()["sessions"] == []
        daytona.session(sandbox_id)
        command_id = daytona.run(sandbox_id, "sleep 60")
        watched.ask("poll_sessions()")
        value = next(frames).json()
        assert value["changed"] is True
        assert value["sessions"] == [{"sessionId": "s", "commands": [{"id": command_id, "command": "sleep 60"}]}]
        watched.ask("poll_sessions()")
        assert next(frames).json()["changed"] is False
        daytona.call("POST", f"/api/sandbox/{sandbox_id}/stop")
        watched.ask("poll_sessions()")
        assert next(frames).json()["sessions"] == [], "one that is not started has none"


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("", ["sandboxId"]),
        ("sandboxId=..", ["sandboxId"]),
        ("sandboxId=%2e%2e", ["sandboxId"]),
        ("sandboxId=a/b", ["sandboxId"]),
        ("sandboxId=a%00", ["sandboxId"]),
        ("sandboxId=a%0A", ["sandboxId"]),
        (f"sandboxId={'a' * 201}", ["sandboxId"]),
        ("sandboxId=a&eventType=all", ["eventType"]),
        ("sandboxId=a&eventType=logs", ["sessionId", "commandId"]),
        ("sandboxId=a&eventType=logs&sessionId=s&commandId=.", ["commandId"]),
        ("sandboxId=a&more=1", ["more"]),
    ],
)
def test_wrong_parameters_are_named(watched: Watched, query: str, wrong: list[str]) -> None:
    answer = get(f"{watched.address('one')}/sse?{query}")
    assert answer.status_code == 400
    assert sorted(answer.json()["error"]["details"]) == sorted(wrong)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_other_methods_and_preflights(watched: Watched) -> None:
    url = watched.sse("one", sandboxId="x")
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "last-event-id"}
    preflight = httpx.options(url, headers={"Origin": watched.address("one"), **asked}, trust_env=False)
    assert (preflight.status_code, preflight.headers["Access-Control-Allow-Methods"]) == (204, "GET, OPTIONS")
    assert httpx.post(url, trust_env=False).status_code == 405


def test_a_sandbox_that_is_not_there_is_404(watched: Watched) -> None:
    for kind in ("sandbox-status", "sessions"):
        answer = get(watched.sse("one", sandboxId="no-such-sandbox", eventType=kind))
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "sandbox_not_found")


@pytest.mark.parametrize("kind", ["sandbox-status", "sessions"])
def test_a_key_that_is_refused_is_502_and_nobody_sees_it(watched: Watched, daytona: Daytona, kind: str) -> None:
    sandbox_id = daytona.sandbox()
    body = {"message": f"Bearer {KEY} is wrong", "path": "/internal"}
    daytona.fault("GET /(api/sandbox|toolbox)/", status=401, body=body)
    answer = get(watched.sse("one", sandboxId=sandbox_id, eventType=kind))
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "sandbox_key_refused")
    assert KEY not in answer.text
    assert "internal" not in answer.text
    said = "\n".join(line for process in watched.processes.values() for line in process.output)
    assert KEY not in said


def test_a_daytona_that_is_away_is_an_error_event_and_values_come_when_it_is_back(
    watched: Watched, daytona: Daytona
) -> None:
    sandbox_id = daytona.sandbox()
    daytona.end()
    with (
        watching(watched, sandboxId=sandbox_id) as status,
        watching(watched, "two", sandboxId=sandbox_id, eventType="sessions") as sessions,
    ):
        for frames, period_ms in ((status, 5000), (sessions, 10_000)):
            trouble = next(frames)
            assert (trouble.event, trouble.json()["code"]) == ("error", "sandbox_unavailable")
            assert trouble.json()["retry_in_ms"] == period_ms
        watched.ask("poll_status()")
        assert next(status).event == "error", "each poll that fails says so"
        daytona.start()
        daytona.session(sandbox_id)
        wait_until(lambda: _is_back(watched), "the breaker of the jobs is closed again")
        assert next_of(status, STATUS)["state"] == "started"
        watched.ask("poll_sessions()")  # the first one learns where the sandbox is
        watched.ask("poll_sessions()")
        assert [session["sessionId"] for session in next_of(sessions, "sessions-update")["sessions"]] == ["s"]


def _is_back(watched: Watched) -> bool:
    watched.ask("poll_status()")
    return bool(watched.ask("Poll.objects.get(pk='status').error_code") == "")


def test_a_hiccup_in_the_middle_is_an_error_event_and_the_stream_lives(watched: Watched, daytona: Daytona) -> None:
    sandbox_id = daytona.sandbox()
    with watching(watched, sandboxId=sandbox_id) as frames:
        next(frames)
        for body in ({"message": KEY}, [], {}, "x"):
            status = 503 if body == {"message": KEY} else 200
            daytona.fault(f"GET /api/sandbox/{sandbox_id}$", status=status, body=body, times=1)
            watched.ask("poll_status()")
            trouble = next(frames)
            assert (trouble.event, trouble.json()["code"]) == ("error", "sandbox_unavailable")
            assert trouble.json()["retry_in_ms"] == 5000
            assert KEY not in trouble.data
            watched.ask("poll_status()")
            assert next(frames).event == STATUS
    with watching(watched, sandboxId=sandbox_id, eventType="sessions") as frames:
        next(frames)
        for body in ([3], {"a": 1}, [{"commands": 5}], [{"commands": [5]}]):
            daytona.fault(f"GET /toolbox/{sandbox_id}/process/session$", status=200, body=body, times=1)
            watched.ask("poll_sessions()")
            assert next(frames).event == "error"
        watched.ask("poll_sessions()")
        assert next(frames).event == "sessions-update"


def test_a_destroyed_sandbox_is_told_and_its_streams_end(watched: Watched, daytona: Daytona) -> None:
    sandbox_id = daytona.sandbox()
    with (
        watching(watched, sandboxId=sandbox_id) as status,
        watching(watched, "two", sandboxId=sandbox_id, eventType="sessions") as sessions,
    ):
        next(status)
        next(sessions)
        daytona.call("DELETE", f"/api/sandbox/{sandbox_id}")
        wait_until(lambda: daytona.http.get(f"/api/sandbox/{sandbox_id}").status_code == 404, "it is gone")
        watched.ask("poll_status()")
        told = list(status)
        assert [frame.json()["state"] for frame in told if frame.event == STATUS][-1] == "destroyed"
        assert (told[-1].event, told[-1].json()["reason"]) == ("disconnected", "sandbox_destroyed")
        goodbye = list(sessions)[-1]
        assert (goodbye.event, goodbye.json()["reason"]) == ("disconnected", "sandbox_destroyed")
    assert get(watched.sse("two", sandboxId=sandbox_id)).status_code == 404


def test_a_sandbox_that_never_was_and_could_not_be_asked_for_ends_its_stream(
    watched: Watched, daytona: Daytona
) -> None:
    daytona.fault("GET /api/sandbox/", status=503)
    with watching(watched, sandboxId="it-never-was") as frames:
        assert next(frames).event == "error"
        daytona.heal()
        watched.ask("poll_status()")
        goodbye = next(frames)
        assert (goodbye.event, goodbye.json()["reason"]) == ("disconnected", "sandbox_not_found")
        assert list(frames) == []


def test_who_asked_by_a_name_while_nobody_answered_is_sent_to_the_id(watched: Watched, daytona: Daytona) -> None:
    sandbox_id = daytona.sandbox(name="asked-for-by-name")
    daytona.fault("GET /api/sandbox/", status=503)
    with watching(watched, sandboxId="asked-for-by-name") as frames:
        assert next(frames).event == "error"
        daytona.heal()
        watched.ask("poll_status()")
        goodbye = next(frames)
        assert (goodbye.event, goodbye.json()["reason"]) == ("disconnected", "known_by_its_id")
        assert list(frames) == []
    with watching(watched, sandboxId="asked-for-by-name") as frames:
        assert next_of(frames, STATUS)["id"] == sandbox_id


def test_a_sandbox_that_was_taken_for_destroyed_is_found_again_a_minute_later(
    watched: Watched, daytona: Daytona
) -> None:
    sandbox_id = daytona.sandbox()
    with watching(watched, sandboxId=sandbox_id) as frames:
        next(frames)
        daytona.fault(f"GET /api/sandbox/{sandbox_id}$", status=404, times=1)
        watched.ask("poll_status()")
        assert next_of(frames, "disconnected")["reason"] == "sandbox_destroyed"
    assert get(watched.sse("one", sandboxId=sandbox_id)).status_code == 404
    row = f"Sandbox.objects.filter(pk='{sandbox_id}')"
    watched.ask(f"{row}.update(seen_at='2026-01-01T00:00:00Z')")
    with watching(watched, sandboxId=sandbox_id) as frames:
        assert next_of(frames, STATUS)["state"] == "started"


def test_a_change_is_pushed_at_once_and_once_by_two_processes(watched: Watched, daytona: Daytona) -> None:
    sandbox_id = daytona.sandbox()
    daytona.end()  # so that each process connects anew, and is counted
    daytona.start()
    with (
        watching(watched, "one", sandboxId=sandbox_id) as first,
        watching(watched, "two", sandboxId=sandbox_id) as second,
    ):
        next(first)
        next(second)
        wait_until(lambda: daytona.requests().get("GET /api/socket.io/", 0) >= 2, "both listen")
        # Held back at the database, both processes look at the same old row before either writes.
        watched.ask("hold_writes()")
        daytona.call("POST", f"/api/sandbox/{sandbox_id}/stop")
        wait_until(lambda: daytona.call("GET", f"/api/sandbox/{sandbox_id}")["state"] == "stopped", "it is stopped")
        watched.ask("release_writes()")
        seen = until(first, lambda frame: frame.json().get("state") == "stopped")
        assert {frame.json()["source"] for frame in seen} == {"push"}
        assert all(frame.json()["changed"] for frame in seen)
        until(second, lambda frame: frame.json().get("state") == "stopped")
        watched.ask("poll_status()")
        seen += until(first, lambda frame: frame.json()["source"] == "poll")
        states = [(frame.json()["state"], frame.json()["updatedAt"]) for frame in seen[:-1]]
        assert len(states) == len(set(states)), "nothing is told twice"


@given(
    st.dictionaries(
        st.sampled_from(["sandboxId", "eventType", "sessionId", "commandId", "lastEventId", "ticket", "other", ""]),
        st.sampled_from(["", "a", ".", "..", "a.b", "a/b", "a\n", "ä", "logs", "sessions", "sandbox-status", "x" * 201])
        | st.text(max_size=5),
    )
)
def test_whatever_is_asked_for_is_wanted_or_named(given_query: dict[str, str]) -> None:
    query = QueryDict(mutable=True)
    query.update(given_query)
    try:
        wanted = read_wanted(query)
    except Invalid as refused:
        assert refused.details
        assert set(refused.details) <= {*given_query, "sandboxId", "sessionId", "commandId"}
        return
    assert set(given_query) <= {"sandboxId", "eventType", "sessionId", "commandId", "lastEventId", "ticket"}
    names = [wanted.sandbox_id, wanted.session_id, wanted.command_id]
    assert wanted.sandbox_id
    assert wanted.kind != "logs" or all(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{0,200}", name) and name not in {".", ".."} for name in names)
