"""Strings that mean something to a database, a header, a path, a log or a stream stay strings, in every text field."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from taskhub.events.frames import encode_json, read_frame
from taskhub.events.outbox import read_after
from taskhub.models import Task

pytestmark = pytest.mark.django_db

NASTY = [
    "'; DROP TABLE taskhub_task; --",
    '" OR 1=1 --',
    "%' OR '%'='",
    "a\r\nSet-Cookie: x=y",
    "a\nid: tasks:999\nevent: forged\ndata: {}\n\n",
    "\r\rdata: forged\r\r",
    "../../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "$(touch /tmp/owned)`id`",
    "{{ 7 * 7 }}{% load static %}",
    "<script>alert(1)</script>",
    "%s%s%n{0.__class__}",
    "\u2028\u2029\x85\x0b\x0c",
    "\x1b[2J\x1b]0;owned\x07",
    "=cmd|'/C calc'!A0",
]
"""What has worked elsewhere."""
TEXT = st.one_of(
    st.sampled_from(NASTY),
    st.builds(lambda nasty, rest: rest + nasty + rest, st.sampled_from(NASTY), st.text(max_size=20)),
    st.text(min_size=1, max_size=100),
).map(lambda text: "".join(c for c in text if c != "\0" and not 0xD800 <= ord(c) <= 0xDFFF))
RELAXED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@RELAXED
@given(text=TEXT, other=TEXT)
def test_texts_come_back_as_they_went_in(api: APIClient, text: str, other: str) -> None:
    sent = {
        "title": text[:200],
        "description": other,
        "assignee": other[:150],
        "tags": [text[:50]],
        "artifacts": [other],
    }
    sent = {name: value for name, value in sent.items() if name == "description" or str(value).strip(" []'\"")}
    made = api.post("/api/tasks/", sent, format="json")
    assert made.status_code in {201, 400}, made.content
    if made.status_code == 400:
        # Nothing but white space is no title.
        assert set(made.json()["error"]["details"]) <= {"title", "tags", "artifacts"}
        return
    body = made.json()
    assert body["description"] == sent["description"]
    assert body["title"] == sent["title"].strip()
    assert "Set-Cookie" not in made.headers
    read = api.get(f"/api/tasks/{body['id']}/").json()
    assert {name: read[name] for name in body} == body
    seen = read_after("tasks", 0, 100_000)[-1]
    frame = read_frame("tasks", *seen).body.decode()
    # One event of three fields, however many line ends its text has.
    assert [line.partition(":")[0] for line in frame.split("\n")] == ["id", "data", "", ""]
    assert "\r" not in frame
    assert json.loads(frame.split("\ndata: ")[1])["data"]["title"] == body["title"]


@RELAXED
@given(text=TEXT)
def test_queries_are_values(api: APIClient, text: str) -> None:
    for name in ("q", "assignee", "status", "priority", "private", "ordering", "cursor", "page_size"):
        answer = api.get("/api/tasks/", {name: text})
        assert answer.status_code in {200, 400, 404}, (name, text, answer.content)
    for name in ("types", "task_id", "assignee", "since", "lastEventId", "ticket"):
        answer = api.options("/api/events/stream", {name: text})
        assert answer.status_code == 204
    assert Task.objects.count() == 0


@RELAXED
@given(text=TEXT)
def test_headers_and_paths_are_values(anonymous: APIClient, text: str) -> None:
    sent = text.encode("utf-8", "replace").decode("latin-1").replace("\r", "").replace("\n", "")
    for name in ("HTTP_AUTHORIZATION", "HTTP_IF_MATCH", "HTTP_LAST_EVENT_ID", "HTTP_ORIGIN", "HTTP_X_FORWARDED_FOR"):
        extra: dict[str, Any] = {name: f"Bearer {sent}" if name == "HTTP_AUTHORIZATION" else sent}
        assert anonymous.get("/api/tasks/", **extra).status_code in {200, 401, 429}
    for address in ("/api/tasks/{}", "/api/exec/logs/{}", "/api/tokens/{}", "/static/{}", "/{}"):
        answer = anonymous.get(address.format(text.lstrip("/")))
        assert answer.status_code in {200, 302, 400, 401, 403, 404, 405}, (address, text)
        assert b"root:" not in b"".join(answer) if answer.streaming else b"root:" not in answer.content


@RELAXED
@given(text=TEXT)
def test_tokens_and_tickets_take_any_name(api: APIClient, text: str) -> None:
    made = api.post("/api/tokens/", {"name": text[:100]}, format="json")
    assert made.status_code in {201, 400}
    if made.status_code == 201:
        assert api.delete(f"/api/tokens/{made.json()['id']}/").status_code == 204
    ticket = api.post("/api/tickets/", {"kind": "events", "params": {"assignee": text}}, format="json")
    assert ticket.status_code in {201, 400}
    if ticket.status_code == 201:
        assert ticket.json()["url"].isprintable()
    assert api.post("/api/tickets/", {"renew": text}, format="json").status_code in {400, 404}


@given(text=TEXT)
def test_a_named_event_stays_one_event(text: str) -> None:
    frame = encode_json({"line": text}, event_id=text, event=text).decode()
    fields = [line.partition(":")[0] for line in frame.removesuffix("\n\n").split("\n")]
    assert fields in (["event", "id", "data"], ["id", "data"], ["data"])


def test_an_odd_address_writes_no_line_of_the_log(anonymous: APIClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        anonymous.get("/api/nothing%0aforged%0d%0aforged?ticket=abcdefgh%0aforged")
    assert caplog.records
    assert all(len(record.getMessage().splitlines()) == 1 for record in caplog.records)
