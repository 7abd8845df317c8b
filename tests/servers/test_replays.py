"""An operator has events sent again to one stream: in order, without ids, whichever process holds it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import httpx
import pytest

from tests.processes import wait_until
from tests.servers.hubs import PASSWORD, Installation
from tests.streaming import Frame, open_stream, until


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    made = Installation(tmp_path_factory.mktemp("replays"))
    try:
        made.make_accounts("alice", "bob")
        made.start_web("one")
        made.start_web("two")
        yield made
    finally:
        made.end()


class Operator:
    """A browser in the admin of process one."""

    def __init__(self, installation: Installation) -> None:
        cookies = installation.log_in("one", "a-operator", PASSWORD)
        self.http = httpx.Client(
            base_url=f"{installation.address('one')}/admin/", follow_redirects=True, trust_env=False, timeout=90
        )
        self.http.headers["Cookie"] = f"sessionid={cookies['sessionid']}; csrftoken={'c' * 32}"
        self.http.headers["X-CSRFToken"] = "c" * 32
        self.http.headers.update(installation.origin("one"))

    def page(self, path: str) -> str:
        answer = self.http.get(path)
        assert answer.status_code == 200
        return answer.text

    def act(self, path: str, action: str, rows: list[str], **answers: Any) -> str:
        """What the page says after the action."""
        body = {"action": action, "_selected_action": rows, "_answered": "1", **answers}
        answer = self.http.post(path, data=body)
        assert answer.status_code == 200
        return unescape(answer.text)

    def streams_of(self, account: str) -> list[str]:
        page = self.page(f"taskhub/streamconnection/?q={account}")
        return re.findall(r'name="_selected_action" value="([0-9a-f-]{36})"', page)


@pytest.fixture
def operator(installation: Installation) -> Iterator[Operator]:
    made = Operator(installation)
    # A process reports its streams every second: those of the previous test must be gone from the page.
    wait_until(lambda: not any(made.streams_of(account) for account in ("alice", "bob")), "no stream is shown")
    yield made
    made.http.close()


def create(installation: Installation, title: str, **fields: Any) -> str:
    answer = httpx.post(
        f"{installation.address('one')}/api/tasks/", headers=installation.headers, json={"title": title, **fields}
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def stream_of(installation: Installation, account: str, query: str = "") -> Any:
    """On process two: the operator asks the other one."""
    headers = {"Authorization": f"Bearer {installation.accounts[account]}"}
    return open_stream(f"{installation.address('two')}/api/events/stream{query}", headers=headers)


def titled(title: str) -> Any:
    return lambda frame: bool(frame.data) and frame.json()["data"].get("title") == title


def the_stream(operator: Operator, account: str) -> str:
    wait_until(lambda: len(operator.streams_of(account)) == 1, f"the admin shows the stream of {account}")
    return operator.streams_of(account)[0]


def events(frames: list[Frame]) -> list[Frame]:
    return [frame for frame in frames if frame.data and frame.json()["event"].startswith("task_")]


def test_a_range_goes_again_to_one_stream_of_another_process(installation: Installation, operator: Operator) -> None:
    with stream_of(installation, "alice") as of_alice, stream_of(installation, "bob") as of_bob:
        for title in ("first", "second", "third"):
            create(installation, title)
        live = events(until(of_alice, titled("third")))
        first, last = live[0].number, live[-1].number
        stream = the_stream(operator, "alice")
        said = operator.act("taskhub/streamconnection/", "send_again", [stream], first=first, last=last)
        assert "1 of 1 streams are sent them again." in said
        again = events(until(of_alice, titled("third")))
        # The envelopes are those of the first time, and nothing moves the client's place.
        assert [frame.data for frame in again] == [frame.data for frame in live]
        assert [frame.id for frame in again] == ["", "", ""]
        create(installation, "fourth")
        assert [frame.json()["data"]["title"] for frame in events(until(of_alice, titled("fourth")))] == ["fourth"]
        seen_by_bob = events(until(of_bob, titled("fourth")))
    assert [frame.json()["data"]["title"] for frame in seen_by_bob] == ["first", "second", "third", "fourth"]
    wait_until(lambda: operator.streams_of("alice") == [], "a stream that has closed is shown no longer")


def test_chosen_events_go_through_the_streams_filters_and_rights(
    installation: Installation, operator: Operator
) -> None:
    with stream_of(installation, "alice", "?types=task_created") as frames:
        for title, fields in (("for all", {}), ("of bob", {"private": True, "assignee": "bob"}), ("last", {})):
            create(installation, title, **fields)
        live = events(until(frames, titled("last")))
        assert [frame.json()["data"]["title"] for frame in live] == ["for all", "last"]
        stream = the_stream(operator, "alice")
        listed = operator.page("django_eventstream/event/")
        rows = re.findall(r'name="_selected_action" value="(\d+)"', listed)[:3]
        said = operator.act("django_eventstream/event/", "send_again", rows, stream=stream)
        assert "3 of 3 events are sent again to alice" in said
        again = events(until(frames, titled("last")))
    assert [frame.data for frame in again] == [frame.data for frame in live]
    listed = operator.page("taskhub/auditentry/?q=stream%3A")
    assert f"stream:{stream}" in listed


def test_a_stream_that_has_closed_is_told_of(installation: Installation, operator: Operator) -> None:
    with stream_of(installation, "bob") as frames:
        until(frames, lambda frame: bool(frame.data))
        stream = the_stream(operator, "bob")
    create(installation, "there")
    wait_until(lambda: operator.streams_of("bob") == [], "the stream has closed")
    said = operator.act("django_eventstream/event/", "send_again", ["1"], stream=stream)
    assert "Select a valid choice" in said


def test_a_process_that_leaves_takes_its_streams_with_it(installation: Installation, operator: Operator) -> None:
    with stream_of(installation, "alice") as frames:
        until(frames, lambda frame: bool(frame.data))
        the_stream(operator, "alice")
        installation.processes["two"].end()
    assert operator.streams_of("alice") == []
    installation.start_web("two")
