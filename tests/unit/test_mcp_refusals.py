"""Refusals at /mcp: a JSON-RPC error that says what is wrong and what to do, since SDKs show nothing else."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client

from taskhub.auth.rate_limits import account_requests, failures
from taskhub.mcp.endpoint import Exchange
from taskhub.models import ApiToken
from tests.conftest import make_account
from tests.oauth_flow import at_mcp

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]


@pytest.fixture(autouse=True)
def closed(settings: Any) -> None:
    settings.TASKHUB_OPEN_READING = False


def ask(token: str | None, *, body: Any = None, message_id: Any = 7) -> Any:
    message = {"jsonrpc": "2.0", "id": message_id, "method": "tools/list"} if body is None else body
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    text = message if isinstance(message, str | bytes) else json.dumps(message)
    return Client().post("/mcp", text, content_type="application/json", headers=headers)


def refusal(answer: HttpResponse, status: int) -> dict[str, Any]:
    """The JSON-RPC error, which is as the protocol has it."""
    assert answer.status_code == status
    assert answer["Content-Type"] == "application/json"
    body = json.loads(answer.content)
    assert body.keys() == {"jsonrpc", "id", "error"}
    assert (body["jsonrpc"], body["id"]) == ("2.0", 7)
    assert body["error"]["code"] == -32_000
    found: dict[str, Any] = body["error"]
    assert found["message"].startswith(found["data"]["error"]["message"])
    assert found["message"].endswith(found["data"]["error"]["next"])
    return found


def test_without_a_token_the_error_says_how_to_send_one() -> None:
    answer = ask(None)
    found = refusal(answer, 401)
    assert found["data"]["error"]["code"] == "not_authenticated"
    assert "`Authorization: Bearer <API token>`" in found["message"]
    # Without credentials the challenge has no error; it says where a sign-in begins.
    assert answer["WWW-Authenticate"].startswith('Bearer resource_metadata="http://testserver/.well-known/')


def test_a_wrong_token_an_expired_one_and_a_revoked_one_are_told_apart(alice: User) -> None:
    _, expired = ApiToken.objects.create(user=alice, expiry=timedelta(seconds=-1))
    row, revoked = ApiToken.objects.create(user=alice)
    row.delete()
    _, disabled = ApiToken.objects.create(user=make_account("gone", "agent"))
    User.objects.filter(username="gone").update(is_active=False)
    for token, code, words in [
        ("0" * 64, "not_authenticated", "The token is wrong."),
        (expired, "token_expired", "The token has expired"),
        (revoked, "token_revoked", "The token was revoked"),
        (disabled, "account_disabled", "The account of this token is disabled"),
    ]:
        answer = ask(token)
        found = refusal(answer, 401)
        assert found["data"]["error"]["code"] == code
        assert found["message"].startswith(words)
        challenge = answer["WWW-Authenticate"]
        assert challenge.startswith(f'Bearer error="invalid_token", error_description="{words}')
        assert challenge.count('"') == 8, "the words end no field"


def test_an_account_without_a_role_is_told_whom_to_ask() -> None:
    _, token = ApiToken.objects.create(user=make_account("nothing"))
    found = refusal(ask(token), 403)
    assert found["data"]["error"]["code"] == "forbidden"
    assert "Ask an operator for the role" in found["message"]


def test_haste_is_told_with_the_seconds_to_wait(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    _, token = ApiToken.objects.create(user=alice)
    monkeypatch.setattr(type(account_requests), "wait_s", lambda *_: 12)
    answer = ask(token)
    found = refusal(answer, 429)
    assert answer["Retry-After"] == "13"
    assert found["data"]["error"]["details"] == {"retry_after_s": 13}
    assert found["data"]["error"]["code"] == "throttled"


def test_guessing_is_told_likewise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(failures), "wait_s", lambda *_: 60)
    found = refusal(ask("0" * 64), 429)
    assert "Too many wrong credentials" in found["message"]


@pytest.mark.parametrize("message_id", ["a", 0, None, True, 1.5, [1]])
def test_the_error_has_the_id_of_the_message(message_id: Any) -> None:
    body = json.loads(ask(None, message_id=message_id).content)
    expected = message_id if isinstance(message_id, str | int) and message_id is not True else None
    assert body["id"] == expected


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"[" * 100_000, b"\xff", b'"x"', b" " * 3_000_000])
def test_what_is_no_message_is_refused_likewise(body: bytes) -> None:
    answer = ask(None, body=body)
    assert answer.status_code == 401
    assert json.loads(answer.content)["id"] is None


@pytest.mark.parametrize("method", [[], {}, None, 1])
def test_a_method_that_is_no_text_is_left_to_the_protocol(settings: Any, method: Any) -> None:
    settings.TASKHUB_OPEN_READING = True
    assert isinstance(at_mcp(None, method), Exchange)
