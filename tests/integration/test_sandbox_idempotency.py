from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from sandboxes.errors import SandboxUnavailable
from sandboxes.gateway import Gateway
from sandboxes.services.sandboxes import REQUEST_LABEL
from taskhub.api import idempotency
from taskhub.models import AuditEntry, IdempotencyKey

pytestmark = pytest.mark.django_db
KEY = {"Idempotency-Key": "one"}


@pytest.fixture
def client(operator) -> APIClient:
    made = APIClient(raise_request_exception=False)
    made.force_login(operator)
    return made


def make(client: APIClient, **body: Any) -> Any:
    return client.post("/api/sandboxes/", body, format="json", headers=KEY)


def own(client: APIClient) -> list[str]:
    """The sandboxes that a request with a key has made."""
    items = client.get("/api/sandboxes/?limit=200").json()["items"]
    label = IdempotencyKey.objects.get(operation__startswith="POST sandboxes ").label.hex
    return [item["id"] for item in items if item.get("labels", {}).get(REQUEST_LABEL) == label]


def test_a_repeat_makes_no_second_sandbox(client: APIClient, sandboxes: None) -> None:
    first = make(client, labels={"team": "a"})
    assert first.status_code == 201
    assert first.json()["labels"]["team"] == "a"
    again = make(client, labels={"team": "a"})
    assert (again.status_code, again.json()) == (201, first.json())
    assert own(client) == [first.json()["id"]]
    assert make(client, labels={"team": "b"}).json()["error"]["code"] == "idempotency_key_reused"


def test_a_sandbox_whose_answer_was_lost_is_found_again(
    client: APIClient, sandboxes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies behind Daytona's answer, before anything is written down."""

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("sandboxes.services.sandboxes.audit_write", die)
        patched.setattr(idempotency, "idempotency_release", die)
        with pytest.raises(KeyboardInterrupt):
            make(client)
    meanwhile = make(client)
    assert (meanwhile.status_code, meanwhile.json()["error"]["code"]) == (409, "in_progress")
    IdempotencyKey.objects.update(reserved_until=None)
    found = make(client)
    assert found.status_code == 201
    assert own(client) == [found.json()["id"]]
    assert AuditEntry.objects.filter(action="sandbox:create", sandbox_id=found.json()["id"]).count() == 1
    assert make(client).json() == found.json()


def test_an_unknown_outcome_is_told(client: APIClient, sandboxes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(self: Gateway, fields: Any) -> Any:
        raise SandboxUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(Gateway, "create", silent)
        assert make(client).status_code == 503
    for _ in range(2):
        told = make(client)
        assert (told.status_code, told.json()["error"]["code"]) == (409, "outcome_unknown")


def test_a_refusal_frees_the_key(client: APIClient, sandboxes: None) -> None:
    assert make(client, autoStopInterval=-5).status_code == 400
    assert not IdempotencyKey.objects.exists()
    assert make(client).status_code == 201


def test_sessions_and_commands_take_keys(client: APIClient, sandboxes: None) -> None:
    place = f"/api/sandboxes/{client.post('/api/sandboxes/', {}, format='json').json()['id']}/sessions"
    made = [client.post(place, {}, format="json", headers=KEY).json() for _ in range(2)]
    assert made[0] == made[1]
    assert len(client.get(place).json()) == 1
    commands = f"{place}/{made[0]['sessionId']}/commands"
    ran = [client.post(commands, {"command": "true"}, format="json", headers=KEY).json() for _ in range(2)]
    assert ran[0] == ran[1]
    (session,) = client.get(place).json()
    assert len(session["commands"]) == 1
    # A session whose answer was lost is found by its name.
    IdempotencyKey.objects.filter(operation__startswith="POST sessions").update(status=None, reserved_until=None)
    assert client.post(place, {}, format="json", headers=KEY).json() == made[0]
    IdempotencyKey.objects.filter(operation__startswith="POST commands").update(status=None, reserved_until=None)
    told = client.post(commands, {"command": "true"}, format="json", headers=KEY)
    assert (told.status_code, told.json()["error"]["code"]) == (409, "outcome_unknown")
