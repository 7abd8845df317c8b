"""Tickets: for exactly one stream, for 10 minutes, and for nothing else."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core import signing
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.test import APIClient

from taskhub.api import callers
from taskhub.errors import HubError, Invalid, NotAuthenticated
from taskhub.events import tickets
from taskhub.events.tickets import EVENTS, EXECUTION_LOG, BadTicket, StreamKind, read_ticket, read_ticket_for
from taskhub.models import ApiToken
from tests.conftest import make_account

pytestmark = pytest.mark.django_db
TASK = "0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f"


def ask(client: APIClient, kind: str = "events", **params: str) -> Any:
    return client.post("/api/tickets/", {"kind": kind, "params": params}, format="json")


def ticket_in(answer: Any) -> str:
    return parse_qs(urlsplit(answer.json()["url"]).query)["ticket"][0]


def opens(url: str, kind: StreamKind, **inside: Any) -> User:
    """Who the stream at this URL would be opened for. Raises HubError."""
    caller, credential = callers._resolve(RequestFactory().get(url), kind, inside)
    assert credential is not None
    assert isinstance(caller, User)
    return caller


def test_a_ticket_is_an_address_that_opens_its_stream(api: APIClient) -> None:
    answer = ask(api, types="task_updated,task_created", task_id=TASK.upper())
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    assert answer.json()["params"] == {"types": "task_created,task_updated", "task_id": TASK}
    url = answer.json()["url"]
    assert url.startswith("http://testserver/api/events/stream?types=task_created%2Ctask_updated&task_id=")
    assert opens(url, EVENTS).username == "alice"
    # The order of the words and where the client stands are no part of which stream it is.
    again = url.replace("task_created%2Ctask_updated", "task_updated,task_created") + "&lastEventId=tasks:5"
    assert opens(again, EVENTS).username == "alice"
    log = ask(api, "execution-log", task_id=TASK).json()["url"]
    assert f"/api/exec/logs/{TASK}/stream?ticket=" in log
    assert opens(log, EXECUTION_LOG, task_id=uuid.UUID(TASK)).username == "alice"


def test_it_opens_no_other_stream(api: APIClient) -> None:
    other = str(uuid.uuid4())
    url = ask(api, task_id=TASK).json()["url"]
    ticket = url.split("ticket=")[1]
    log_ticket = ticket_in(ask(api, "execution-log", task_id=TASK))
    for stolen, kind, inside in [
        (url.replace(TASK, other), EVENTS, {}),
        (f"/api/events/stream?ticket={ticket}", EVENTS, {}),
        (url + "&assignee=bob", EVENTS, {}),
        (url + "&types=task_created", EVENTS, {}),
        (f"/x?ticket={ticket}", EXECUTION_LOG, {"task_id": TASK}),
        (f"/x?ticket={log_ticket}", EXECUTION_LOG, {"task_id": other}),
        (f"/x?ticket={log_ticket}&execution_id={other}", EXECUTION_LOG, {"task_id": TASK}),
        (f"/api/events/stream?task_id={TASK}&ticket={log_ticket}", EVENTS, {}),
    ]:
        with pytest.raises(BadTicket):
            opens(stolen, kind, **inside)


def test_it_opens_nothing_else(api: APIClient, anonymous: APIClient, settings) -> None:
    settings.TASKHUB_OPEN_READING = False
    ticket = ticket_in(ask(api))
    for method, address in [
        *[("get", "/api/tasks/"), ("post", "/api/tasks/"), ("get", "/api/tokens/"), ("post", "/api/tickets/")],
        *[("get", "/api/events/status"), ("get", "/api/asyncapi.json"), ("get", "/api/schema/")],
        ("get", f"/api/exec/logs/{TASK}/stream"),
    ]:
        assert getattr(anonymous, method)(f"{address}?ticket={ticket}").status_code == 401, address
        headers = {"Authorization": f"Bearer {ticket}"}
        assert getattr(anonymous, method)(address, headers=headers).status_code in {401, 429}, address


def test_it_lives_ten_minutes(api: APIClient, monkeypatch) -> None:
    now = signing.time.time()
    monkeypatch.setattr(signing.time, "time", lambda: now)
    ticket = ticket_in(ask(api))
    assert read_ticket(ticket).kind == "events"
    monkeypatch.setattr(tickets, "VALID_FOR", timedelta(minutes=10))
    monkeypatch.setattr(signing.time, "time", lambda: now + 599)
    assert read_ticket(ticket).kind == "events"
    monkeypatch.setattr(signing.time, "time", lambda: now + 602)
    with pytest.raises(BadTicket):
        read_ticket(ticket)
    renewed = api.post("/api/tickets/", {"renew": ticket}, format="json")
    assert renewed.status_code == 201
    assert read_ticket(ticket_in(renewed)).params == {}
    monkeypatch.setattr(signing.time, "time", lambda: now + 86_500)
    assert api.post("/api/tickets/", {"renew": ticket}, format="json").status_code == 404


def test_nobody_renews_anothers_ticket(api: APIClient) -> None:
    other = APIClient()
    other.credentials(HTTP_AUTHORIZATION=f"Bearer {ApiToken.objects.create(user=make_account('bob', 'agent'))[1]}")
    answer = other.post("/api/tickets/", {"renew": ticket_in(ask(api))}, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ticket_not_found")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "nope"},
        {"kind": "events", "params": {"sandboxId": "x"}},
        {"kind": "execution-log"},
        {"kind": "events", "renew": "x"},
        {"renew": "x", "params": {}},
        {"kind": "events", "params": []},
        {"kind": "events", "params": {"task_id": "7"}},
        {"kind": "events", "params": {"types": "nope"}},
        {"kind": "events", "params": {"since": "2025-06-22T10:00:00Z"}},
        {"kind": "sse", "params": {"sandboxId": "a/b"}},
        {"kind": "sse", "params": {"sandboxId": "b", "eventType": "logs", "sessionId": "s"}},
        {"kind": "events", "params": {"assignee": "x" * 1001}},
        {"kind": "events", "params": {"assignee": 5}},
        {"kind": ["events"]},
        {"renew": 5},
        {"renew": ""},
    ],
)
def test_what_is_wrong_is_told(api: APIClient, body: dict[str, Any]) -> None:
    assert api.post("/api/tickets/", body, format="json").status_code == 400


def test_it_needs_an_account_even_where_reading_is_open(anonymous: APIClient) -> None:
    assert ask(anonymous).status_code == 401


@pytest.mark.parametrize("how", ["revoked", "expired", "inactive", "deleted"])
def test_it_falls_with_what_it_was_made_with(alice: User, how: str) -> None:
    token, text = ApiToken.objects.create(user=alice)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    url = ask(client).json()["url"]
    assert opens(url, EVENTS) == alice
    if how == "revoked":
        token.delete()
    elif how == "expired":
        ApiToken.objects.update(expiry="2020-01-01T00:00Z")
    elif how == "inactive":
        User.objects.update(is_active=False)
    else:
        alice.delete()
    with pytest.raises(NotAuthenticated):
        opens(url, EVENTS)


@pytest.mark.parametrize("how", ["left", "expired", "rekeyed"])
def test_one_made_in_a_session_falls_with_the_session(alice: User, how: str) -> None:
    client = APIClient()
    client.force_login(alice)
    url = ask(client).json()["url"]
    assert opens(url, EVENTS) == alice
    if how == "left":
        client.logout()
    elif how == "expired":
        Session.objects.update(expire_date="2020-01-01T00:00Z")
    else:
        alice.set_password("new")
        alice.save()
    with pytest.raises(NotAuthenticated):
        opens(url, EVENTS)


def test_a_ticket_does_not_tell_the_key_of_its_session(alice: User) -> None:
    client = APIClient()
    client.force_login(alice)
    said = signing.loads(ticket_in(ask(client)), salt=tickets._SALT)
    assert said["s"]
    assert str(client.session.session_key) not in json.dumps(said)


@given(text=st.text(max_size=300))
def test_anything_else_is_no_ticket(text: str) -> None:
    with pytest.raises(BadTicket):
        read_ticket_for(text, EVENTS, {})


def test_a_signature_of_another_purpose_is_none(alice: User) -> None:
    said = {"k": "events", "p": {}, "u": alice.pk}
    with pytest.raises(BadTicket):
        read_ticket(signing.dumps(said, salt="something else"))
    with pytest.raises(BadTicket):
        read_ticket(signing.dumps(said, key="another key", salt=tickets._SALT))


def test_a_token_with_one_changed_character_is_refused(api: APIClient) -> None:
    ticket = ticket_in(ask(api))
    for place in range(0, len(ticket), 7):
        wrong = ticket[:place] + ("A" if ticket[place] != "A" else "B") + ticket[place + 1 :]
        with pytest.raises(BadTicket):
            read_ticket(wrong)


@given(params=st.dictionaries(st.sampled_from(EVENTS.names), st.text(max_size=50)))
def test_canonical_parameters_are_the_same_when_read_again(params: dict[str, str]) -> None:
    try:
        once = EVENTS.canonical(params)
    except Invalid as error:
        assert isinstance(error, HubError)
    else:
        assert EVENTS.canonical(once) == once == EVENTS.asked(once)
