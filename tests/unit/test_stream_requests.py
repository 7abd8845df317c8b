"""What may be asked of a stream: ids, filters and times of every kind."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
from django.db import connections
from django.test import AsyncClient, RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from taskhub.api import streams
from taskhub.errors import Invalid
from taskhub.events.outbox import OutboxStorage, read_after
from taskhub.events.tickets import EVENTS
from taskhub.lib.query_values import read_moment

ANY = st.text(alphabet=st.characters(exclude_categories=["Cs"]))


@given(text=ANY.filter(bool))
def test_an_id_is_this_streams_or_refused(text: str) -> None:
    request = RequestFactory().get("/api/events/stream", {"lastEventId": text})
    try:
        number = streams._resume_after(streams.last_event_id(request))
    except Invalid as error:
        assert error.code == "last_event_id_malformed"
        assert error.message == "Last-Event-ID is not an id of this stream."
    else:
        assert text == f"tasks:{text[6:]}"
        assert number == int(text[6:])


@given(number=st.integers(min_value=0, max_value=10**18 - 1))
def test_every_number_of_a_channel_is_taken(number: int) -> None:
    assert streams._resume_after(f"tasks:{number}") == number


@pytest.mark.parametrize(
    "text",
    [
        "tasks",
        "tasks:",
        "tasks:-1",
        "tasks:1.5",
        "tasks:1\n",
        "tasks:٣",
        "other:1",
        "tasks:1,other:2",
        "1",
        "tasks:1e3",
    ],
)
def test_malformed_ids_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        streams._resume_after(text)


@given(types=ANY, task_id=ANY, assignee=ANY, since=ANY)
def test_any_parameters_are_filters_or_a_refusal_that_names_them(
    types: str, task_id: str, assignee: str, since: str
) -> None:
    sent = {"types": types, "task_id": task_id, "assignee": assignee, "since": since}
    try:
        asked = EVENTS.read(RequestFactory().get("/api/events/stream", sent).GET)
    except Invalid as error:
        assert error.details is not None
        assert set(error.details) <= set(sent)
    else:
        assert streams.read_filters(asked).assignee == assignee


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-26T10:00:00+00:00",
        "2026-11-26T10:00:00 00:00",  # an unencoded `+` of a query
        "2026-11-26 10:00:00 00:00",
        "2026-11-26T10:00:00 0000",
        "2026-11-26T10:00:00 00",
        "2026-11-26T11:00:00 01:00",
        "2026-11-26T05:00:00-05:00",
        "2026-11-26T10:00:00Z",
        "2026-11-26t10:00:00z",
        "2026-11-26 10:00",
        " 20261126T100000Z",
    ],
)
def test_a_time_may_be_written_in_every_way_of_iso_8601(text: str) -> None:
    assert read_moment(text) == datetime(2026, 11, 26, 10, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", " ", "now", "1764151200", "10:00", "2026-13-01", "0001-01-01T00:00:00+14:00"])
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_moment(text)


@pytest.mark.django_db(transaction=True)
async def test_refusals_come_before_the_stream_as_json() -> None:
    client = AsyncClient()
    for query, field in [
        ("types=nope", "types"),
        ("task_id=7", "task_id"),
        ("since=yesterday", "since"),
        ("since=0001-01-01T00:00:00%2B14:00", "since"),
        ("since=9999-12-31T23:59:59-14:00", "since"),
    ]:
        answer = await client.get(f"/api/events/stream?{query}")
        assert answer.status_code == 400
        assert field in answer.json()["error"]["details"]
    assert (await client.get("/api/events/stream?lastEventId=x")).status_code == 400
    posted = await client.post("/api/events/stream", {})
    assert (posted.status_code, posted.json()["error"]["code"]) == (405, "method_not_allowed")


@pytest.mark.django_db(transaction=True)
def test_publishers_at_once_leave_no_hole_and_no_double() -> None:
    def append() -> None:
        try:
            for _ in range(20):
                OutboxStorage().append_event("tasks", "message", "1")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=append) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [row.seq for row in read_after("tasks", 0, 1000)] == list(range(1, 161))
