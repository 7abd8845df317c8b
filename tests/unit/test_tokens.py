"""Tokens: made, shown once, hashed, expiring, revoked; by REST, in the admin and on the command line."""

from __future__ import annotations

import uuid
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from taskhub.auth.rate_limits import failures
from taskhub.models import ApiToken, AuditEntry
from taskhub.services.tokens import TOKENS_PER_ACCOUNT
from tests.conftest import make_account

pytestmark = pytest.mark.django_db


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_token_is_created_shown_once_listed_and_revoked(api: APIClient, anonymous: APIClient) -> None:
    made = api.post("/api/tokens/", {"name": "laptop", "expires_in_days": 30}, format="json")
    assert made.status_code == 201
    assert made["Cache-Control"] == "no-store"
    body = made.json()
    assert set(body) == {"id", "name", "created_at", "expires_at", "role", "token"}
    assert (
        anonymous.post("/api/tasks/", {"title": "t"}, format="json", headers=bearer(body["token"])).status_code == 201
    )
    listed = api.get("/api/tokens/").json()
    assert [token["name"] for token in listed] == ["laptop", ""]
    assert body["token"] not in str(listed)
    stored = ApiToken.objects.get(name="laptop")
    assert body["token"] not in (stored.digest, stored.token_key)
    assert api.delete(f"/api/tokens/{body['id']}/").status_code == 204
    refused = anonymous.post("/api/tasks/", {"title": "t"}, format="json", headers=bearer(body["token"]))
    assert refused.status_code == 401


def test_another_accounts_token_is_not_found(api: APIClient) -> None:
    token, _ = ApiToken.objects.create(user=make_account("bob", "agent"))
    assert api.delete(f"/api/tokens/{token.public_id}/").status_code == 404
    assert api.delete(f"/api/tokens/{uuid.uuid4()}/").status_code == 404
    assert str(token.public_id) not in api.get("/api/tokens/").content.decode()
    assert ApiToken.objects.filter(pk=token.pk).exists()


def test_a_token_created_by_a_token_expires_no_later(alice: User, anonymous: APIClient) -> None:
    parent, text = ApiToken.objects.create(user=alice, expiry=timedelta(hours=1))
    made = anonymous.post(
        "/api/tokens/", {"name": "child", "expires_in_days": 365}, format="json", headers=bearer(text)
    ).json()
    assert ApiToken.objects.get(public_id=made["id"]).expiry <= parent.expiry + timedelta(seconds=1)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x" * 101},
        {"name": 5},
        {"name": "a\nb"},
        {"name": "\u202eb"},
        {"name": "n", "expires_in_days": 0},
        {"name": "n", "expires_in_days": 366},
        {"name": "n", "user": "operator"},
        {"name": "n", "expiry": None},
    ],
)
def test_each_wrong_field_is_named(api: APIClient, body: dict[str, Any]) -> None:
    assert api.post("/api/tokens/", body, format="json").status_code == 400


def test_the_number_of_tokens_is_limited(api: APIClient, alice: User) -> None:
    for _ in range(TOKENS_PER_ACCOUNT - 1):
        ApiToken.objects.create(user=alice)
    answer = api.post("/api/tokens/", {"name": "one more"}, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "too_many_tokens")


def test_creating_revoking_and_using_a_token_is_audited(api: APIClient) -> None:
    made = api.post("/api/tokens/", {"name": "laptop"}, format="json").json()
    with_it = APIClient()
    with_it.credentials(HTTP_AUTHORIZATION=f"Bearer {made['token']}")
    task = with_it.post("/api/tasks/", {"title": "t"}, format="json").json()
    api.delete(f"/api/tokens/{made['id']}/")
    created, used, revoked = AuditEntry.objects.order_by("id")
    assert (created.action, created.subject, created.actor_name) == ("token:create", f"token:{made['id']}", "alice")
    assert (used.action, str(used.token_id), used.token_name) == ("task:create", made["id"], "laptop")
    assert (revoked.action, revoked.subject, revoked.door) == ("token:revoke", f"token:{made['id']}", "rest")
    assert made["token"] not in str(list(AuditEntry.objects.values()))
    assert api.get(f"/api/tasks/{task['id']}/history/").json()["results"][0]["token_name"] == "laptop"


def test_a_token_is_found_with_its_account_and_role_in_one_query(api: APIClient) -> None:
    api.get("/api/me/")  # its use is written, for a minute
    with CaptureQueriesContext(connection) as queries:
        assert api.get("/api/tasks/").status_code == 200
    assert len(queries) == 2  # the token, the tasks


def test_the_highest_of_several_roles_counts(anonymous: APIClient) -> None:
    _, text = ApiToken.objects.create(user=make_account("dora", "viewer", "agent"))
    assert anonymous.post("/api/tasks/", {"title": "t"}, format="json", headers=bearer(text)).status_code == 201


def test_an_inactive_account_has_no_role(anonymous: APIClient) -> None:
    user = make_account("dora", "agent")
    _, text = ApiToken.objects.create(user=user)
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert anonymous.get("/api/tasks/", headers=bearer(text)).status_code == 401


def test_a_token_with_one_changed_character_is_refused(anonymous: APIClient, alice: User) -> None:
    _, text = ApiToken.objects.create(user=alice)
    for wrong in (text[:-1], text + "0", text[:-1] + ("0" if text[-1] != "0" else "1"), text.upper(), text[:15]):
        if wrong != text:
            assert anonymous.get("/api/tasks/", headers=bearer(wrong)).status_code == 401


# --- Guessing ----------------------------------------------------------------------------------------


def test_credentials_of_a_guessing_address_are_refused(anonymous: APIClient, alice: User, settings) -> None:
    settings.TASKHUB_FAILED_CREDENTIALS_PER_MINUTE = 3
    _, text = ApiToken.objects.create(user=alice)
    for _ in range(3):
        assert anonymous.get("/api/tasks/", headers=bearer("0" * 64)).status_code == 401
    refused = anonymous.get("/api/tasks/", headers=bearer("0" * 64))
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "throttled")
    assert 1 <= int(refused["Retry-After"]) <= 61
    for path in ("/api/events/stream", "/sse?sandboxId=x", "/api/asyncapi.json", "/api/tasks/"):
        refused = anonymous.get(path, headers=bearer("1" * 64))
        assert refused.status_code == 429, path
        assert 1 <= int(refused["Retry-After"]) <= 66, path
    # One stale token locks no other client out: a right one passes from the same address.
    for path in ("/api/tasks/", "/api/asyncapi.json", "/api/me/"):
        assert anonymous.get(path, headers=bearer(text)).status_code == 200, path
    # Another address is not concerned, nor who shows no credentials.
    assert anonymous.get("/api/tasks/", headers=bearer("0" * 64), REMOTE_ADDR="10.0.0.9").status_code == 401
    assert anonymous.get("/api/tasks/").status_code == 200


def test_failures_are_forgotten_after_a_minute(settings, monkeypatch) -> None:
    settings.TASKHUB_FAILED_CREDENTIALS_PER_MINUTE = 1
    now = 1000.0
    monkeypatch.setattr("taskhub.auth.rate_limits.time.monotonic", lambda: now)
    failures.count("10.0.0.1")
    assert failures.wait_s("10.0.0.1") == 60.0
    now += 60.0
    assert failures.wait_s("10.0.0.1") == 0.0
    for n in range(10_050):
        failures.count(f"address {n}")
    assert len(failures._windows) == 10_000


def test_password_guessing_is_limited(alice: User, settings) -> None:
    settings.TASKHUB_FAILED_CREDENTIALS_PER_MINUTE = 2
    client = Client()
    for _ in range(2):
        client.post("/login/", {"username": "alice", "password": "wrong"})
    client.post("/login/", {"username": "alice", "password": "alice"})
    assert "_auth_user_id" not in client.session
    failures.forget()
    client.post("/login/", {"username": "alice", "password": "alice"})
    assert client.session["_auth_user_id"] == str(alice.pk)


# --- Sessions ----------------------------------------------------------------------------------------


def test_a_session_writes_only_with_the_csrf_token(alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    refused = client.post("/api/tasks/", {"title": "t"}, content_type="application/json")
    assert refused.status_code == 403
    client.get("/login/")
    client.cookies["csrftoken"] = "c" * 32
    allowed = client.post(
        "/api/tasks/", {"title": "t"}, content_type="application/json", headers={"X-CSRFToken": "c" * 32}
    )
    assert allowed.status_code == 201
    assert AuditEntry.objects.get().token_id is None


# --- The admin and the command line ------------------------------------------------------------------


@pytest.fixture
def admin_client(operator: User) -> Client:
    client = Client()
    client.force_login(operator)
    return client


def test_the_admin_creates_a_token_shows_it_once_and_revokes_it(
    admin_client: Client, alice: User, anonymous: APIClient
) -> None:
    turned = admin_client.post("/admin/taskhub/apitoken/add/", {"user": alice.pk, "name": "\u202eci", "days": "7"})
    assert "Must be one line" in turned.content.decode()
    page = admin_client.post("/admin/taskhub/apitoken/add/", {"user": alice.pk, "name": "ci", "days": "7"})
    text = page.content.decode().split('<pre id="token">')[1].split("<")[0]
    assert "no-store" in page["Cache-Control"]
    assert anonymous.get("/api/tokens/", headers=bearer(text)).json()[0]["name"] == "ci"
    token = ApiToken.objects.get(name="ci")
    assert timedelta(days=6) < token.expiry - timezone.now() < timedelta(days=7)
    for address in ("/admin/taskhub/apitoken/", f"/admin/taskhub/apitoken/{token.pk}/change/"):
        shown = admin_client.get(address).content.decode()
        assert "ci" in shown
        assert text not in shown
    assert admin_client.post(f"/admin/taskhub/apitoken/{token.pk}/delete/", {"post": "yes"}).status_code == 302
    assert anonymous.get("/api/tokens/", headers=bearer(text)).status_code == 401
    entries = AuditEntry.objects.order_by("id").values_list("action", "door", "actor_name")
    assert list(entries) == [("token:create", "admin", "operator"), ("token:revoke", "admin", "operator")]


def test_the_admin_revokes_several_at_once(admin_client: Client, alice: User) -> None:
    tokens = [ApiToken.objects.create(user=alice)[0].pk for _ in range(3)]
    body = {"action": "delete_selected", "_selected_action": tokens, "post": "yes"}
    assert admin_client.post("/admin/taskhub/apitoken/", body).status_code == 302
    assert AuditEntry.objects.filter(action="token:revoke").count() == 3
    assert not ApiToken.objects.exists()


def test_a_change_of_role_in_the_admin_is_audited(alice: User) -> None:
    # An operator by group alone: neither staff nor superuser.
    client = Client()
    client.force_login(make_account("olga", "operator"))
    form = client.get(f"/admin/auth/user/{alice.pk}/change/").context["adminform"].form
    body = {name: value for name, value in form.initial.items() if value and name not in {"last_login", "date_joined"}}
    body |= {"role": "viewer"}
    answer = client.post(f"/admin/auth/user/{alice.pk}/change/", body)
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.subject, entry.actor_name) == ("account:update", "account:alice", "olga")
    assert entry.changes["roles"] == [None, ["viewer"]]


def test_the_audit_can_be_filtered(admin_client: Client, api: APIClient) -> None:
    api.post("/api/tasks/", {"title": "t"}, format="json")
    for query in ("door__exact=rest", "action__exact=task%3Acreate", "q=alice"):
        assert "task:create" in admin_client.get(f"/admin/taskhub/auditentry/?{query}").content.decode()
    assert "1 audit entry" not in admin_client.get("/admin/taskhub/auditentry/?q=nobody").content.decode()


def command(*arguments: str) -> str:
    out = StringIO()
    call_command("create_token", *arguments, stdout=out)
    return out.getvalue().strip()


def test_the_command_creates_tokens_and_accounts(alice: User, anonymous: APIClient) -> None:
    assert anonymous.get("/api/tokens/", headers=bearer(command("alice", "--name", "cron"))).json()[0]["name"] == "cron"
    forever = command("robot", "--role", "viewer", "--never-expires")
    assert anonymous.post("/api/tasks/", {"title": "t"}, format="json", headers=bearer(forever)).status_code == 403
    assert ApiToken.objects.get(user__username="robot").expiry is None
    assert not User.objects.get(username="robot").has_usable_password()
    with pytest.raises(CommandError, match="Account stranger does not exist"):
        command("stranger")
    with pytest.raises(CommandError):
        command("no/such name", "--role", "agent")
    with pytest.raises(CommandError):
        command("alice", "--days", "0")
    with pytest.raises(CommandError, match="one line"):
        command("alice", "--name", "two\nlines")
    actions = AuditEntry.objects.order_by("id").values_list("action", "door")
    assert list(actions) == [("token:create", "command"), ("account:create", "command"), ("token:create", "command")]
