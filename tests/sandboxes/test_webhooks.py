"""Daytona's webhooks: taken once, when their signature proves who sent them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import django_eventstream.eventstream
import pytest
import redis
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from standardwebhooks import Webhook

from sandboxes.models import DaytonaWebhook, Sandbox
from sandboxes.services import sandbox_state

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ...").decode()
URL = "/api/daytona/webhooks/"
Send = Callable[..., HttpResponse]

pytestmark = pytest.mark.django_db


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, dict[str, Any]]]:
    """What is announced; it reaches Redis all the same."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    announce = sandbox_state.announce

    def note(channel: str, event: str, data: dict[str, Any]) -> None:
        announce(channel, event, data)
        found.append((channel, event, data))

    monkeypatch.setattr(sandbox_state, "announce", note)
    return found


@pytest.fixture
def sandbox() -> Sandbox:
    document = {"id": "sb", "state": "started", "updatedAt": "2026-01-01T00:00:00.000Z", "name": "its name"}
    return Sandbox.objects.create(id="sb", state="started", document=document, seen_at=timezone.now())


@pytest.fixture
def send(client: Client, settings) -> Send:
    settings.DAYTONA_WEBHOOK_SECRET = SECRET

    def post(body: Any, *, delivery_id: str = "msg_1", age_s: float = 0, prefix: str = "svix", **headers: str) -> Any:
        text = body if isinstance(body, str) else json.dumps(body)
        moment = datetime.now(UTC) - timedelta(seconds=age_s)
        signed = {
            f"{prefix}-id": delivery_id,
            f"{prefix}-timestamp": str(int(moment.timestamp())),
            f"{prefix}-signature": Webhook(SECRET).sign(delivery_id, moment, text),
        }
        return client.post(URL, text, content_type="application/json", headers=signed | headers)

    return post


def stopped(**more: Any) -> dict[str, Any]:
    return {
        "event": "sandbox.state.updated",
        "timestamp": "2026-01-02T00:00:00.000Z",
        "id": "sb",
        "organizationId": "o",
        "oldState": "started",
        "newState": "stopped",
        "updatedAt": "2026-01-02T00:00:00.000Z",
        **more,
    }


@pytest.mark.parametrize("prefix", ["svix", "webhook"])
def test_a_signed_change_is_written_and_told(send: Send, sandbox: Sandbox, told: list[Any], prefix: str) -> None:
    assert send(stopped(), prefix=prefix).status_code == 204
    ((channel, event, data),) = told
    assert (channel, event) == ("sandbox-sb-status", "sandbox-status")
    assert (data["state"], data["name"], data["changed"], data["source"]) == ("stopped", "its name", True, "push")
    sandbox.refresh_from_db()
    assert sandbox.state == "stopped"


def test_one_sent_again_counts_once(send: Send, sandbox: Sandbox, told: list[Any]) -> None:
    for _ in range(3):
        assert send(stopped()).status_code == 204
    assert len(told) == 1
    assert send(stopped(), delivery_id="msg_2").status_code == 204
    assert len(told) == 1, "another delivery of what is known is no news"


def test_one_replayed_later_brings_nothing_old_back(send: Send, sandbox: Sandbox, told: list[Any]) -> None:
    """Also where it does not say of when it is."""
    assert send(stopped(updatedAt="")).status_code == 204
    assert send(stopped(updatedAt="", newState="started"), delivery_id="msg_2").status_code == 204
    assert send(stopped(updatedAt="")).status_code == 204
    sandbox.refresh_from_db()
    assert (sandbox.state, len(told)) == ("started", 2)


def test_one_that_comes_late_overwrites_nothing(send: Send, sandbox: Sandbox, told: list[Any]) -> None:
    assert send(stopped(newState="creating", updatedAt="2025-01-01T00:00:00.000Z")).status_code == 204
    sandbox.refresh_from_db()
    assert (sandbox.state, told) == ("started", [])


def test_the_end_of_a_sandbox_is_told_to_its_viewers(send: Send, sandbox: Sandbox, told: list[Any]) -> None:
    assert send(stopped(newState="destroyed")).status_code == 204
    assert [(event, data.get("reason")) for _, event, data in told] == [
        ("sandbox-status", None),
        ("disconnected", "sandbox_destroyed"),
        ("disconnected", "sandbox_destroyed"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"event": "sandbox.created", "id": "sb", "state": "creating"},
        {"event": "snapshot.created"},
        stopped(id="one without viewers"),
        {},
        [],
        "null",
        '"text"',
        {"event": "sandbox.state.updated"},
    ],
)
def test_what_tells_us_nothing_is_taken_all_the_same(send: Send, sandbox: Sandbox, told: list[Any], body: Any) -> None:
    assert send(body).status_code == 204
    assert told == []


@pytest.mark.parametrize(
    "headers",
    [
        {"svix-signature": ""},
        {"svix-signature": "v1,"},
        {"svix-signature": "v1,not base64 at all"},
        {"svix-signature": "v1"},
        {"svix-signature": "v2,AAAA"},
        {"svix-signature": "v1,AAAA v1,BBBB"},
        {"svix-signature": "ü,ß"},
        {"svix-id": "another"},
        {"svix-id": ""},
        {"svix-timestamp": ""},
        {"svix-timestamp": "soon"},
        {"svix-timestamp": "nan"},
        {"svix-timestamp": "inf"},
        {"svix-timestamp": "9" * 400},
    ],
)
def test_without_a_valid_signature_it_is_401(
    send: Send, sandbox: Sandbox, told: list[Any], headers: dict[str, str]
) -> None:
    answer = send(stopped(), **headers)
    assert (answer.status_code, json.loads(answer.content)["error"]["code"]) == (401, "signature_refused")
    assert told == []
    assert not DaytonaWebhook.objects.exists()


@pytest.mark.parametrize("age_s", [301, 86_400, -301])
def test_one_that_is_too_old_or_from_the_future_is_401(
    send: Send, sandbox: Sandbox, told: list[Any], age_s: float
) -> None:
    assert send(stopped(), age_s=age_s).status_code == 401
    assert told == []


def test_a_changed_body_is_401(send: Send, client: Client, sandbox: Sandbox, told: list[Any]) -> None:
    moment = datetime.now(UTC)
    signature = Webhook(SECRET).sign("m", moment, json.dumps(stopped()))
    headers = {"svix-id": "m", "svix-timestamp": str(int(moment.timestamp())), "svix-signature": signature}
    changed = json.dumps(stopped(newState="destroyed"))
    assert client.post(URL, changed, content_type="application/json", headers=headers).status_code == 401
    assert told == []


@pytest.mark.parametrize("body", ["", "{", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "[" * 100_000])
def test_a_signed_body_that_is_no_json_is_401(send: Send, body: str) -> None:
    assert send(body).status_code == 401


@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=60),
    headers=st.dictionaries(
        st.sampled_from(["svix-id", "svix-timestamp", "svix-signature", "webhook-id", "webhook-signature"]),
        st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40),
    ),
)
def test_whatever_a_stranger_sends_is_401(client: Client, settings, body: bytes, headers: dict[str, str]) -> None:
    settings.DAYTONA_WEBHOOK_SECRET = SECRET
    answer = client.post(URL, body, content_type="application/json", headers=headers)
    assert (answer.status_code, json.loads(answer.content)["error"]["code"]) == (401, "signature_refused")


def test_one_that_is_too_large_is_refused(send: Send, settings, told: list[Any]) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10_000
    answer = send(stopped(more="x" * 10_000))
    assert (answer.status_code, json.loads(answer.content)["error"]["code"]) == (413, "body_too_large")
    assert told == []


def test_without_a_secret_there_are_no_webhooks(send: Send, settings) -> None:
    settings.DAYTONA_WEBHOOK_SECRET = ""
    assert send(stopped()).status_code == 404


def test_only_post(client: Client) -> None:
    assert client.get(URL).status_code == 405


def test_when_redis_is_away_it_is_503_and_taken_when_it_comes_again(
    send: Send, sandbox: Sandbox, told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    away = redis.Redis(unix_socket_path="/nowhere/redis.sock")
    with monkeypatch.context() as patch:
        patch.setattr(django_eventstream.eventstream, "redis_client", away)
        refused = send(stopped())
    assert refused.status_code == 503
    assert "Retry-After" in refused.headers
    sandbox.refresh_from_db()
    assert (sandbox.state, told, DaytonaWebhook.objects.count()) == ("started", [], 0)
    assert send(stopped()).status_code == 204
    assert len(told) == 1
