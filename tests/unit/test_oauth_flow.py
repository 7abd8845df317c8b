"""OAuth at `/mcp`: metadata, where a sign-in begins, what tokens open, tickets and streams that rest on a grant."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from oauth2_provider.models import AccessToken, RefreshToken

from sandboxes.mcp import SANDBOX_TOOLS
from taskhub.api.callers import _resolve
from taskhub.events.revocation import read_revoked
from taskhub.events.tickets import EVENTS, Ticket
from taskhub.models import ApiToken, AuditEntry
from taskhub.roles import Role, role_of
from tests.conftest import make_account
from tests.oauth_flow import RESOURCE, OAuthClient, answer_of, at_mcp, register, requester_at_mcp, signed_in

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]


def test_metadata_names_the_endpoints_and_nothing_that_is_refused() -> None:
    client = Client()
    for path in ("", "/mcp"):
        resource = client.get(f"/.well-known/oauth-protected-resource{path}").json()
        assert (resource["resource"], resource["authorization_servers"]) == (RESOURCE, ["http://testserver"])
        assert resource["bearer_methods_supported"] == ["header"]
        assert set(resource["scopes_supported"]) == {"viewer", "agent", "operator"}
    server = client.get("/.well-known/oauth-authorization-server").json()
    assert server == {
        "issuer": "http://testserver",
        "authorization_endpoint": "http://testserver/oauth/authorize",
        "token_endpoint": "http://testserver/oauth/token",
        "revocation_endpoint": "http://testserver/oauth/revoke",
        "registration_endpoint": "http://testserver/oauth/register",
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_post", "client_secret_basic"],
        "revocation_endpoint_auth_methods_supported": ["none", "client_secret_post", "client_secret_basic"],
        "scopes_supported": ["agent", "operator", "viewer"],
        "client_id_metadata_document_supported": True,
        "authorization_response_iss_parameter_supported": True,
    }


def test_a_sign_in_begins_where_a_message_needs_an_account() -> None:
    """Reading is open here, as locally; a client learns from the 401 where to sign in."""
    assert at_mcp(None, "tools/list").status_code == 200
    assert at_mcp(None, "tools/call", name="list_tasks", arguments={}).status_code == 200
    for method, params in [
        ("tools/call", {"name": "create_tasks", "arguments": {"tasks": [{"title": "t"}]}}),
        ("tools/call", {"name": SANDBOX_TOOLS[-1].name, "arguments": {}}),
        ("tasks/cancel", {"taskId": "x"}),
    ]:
        refused = at_mcp(None, method, **params)
        assert refused.status_code == 401
        assert refused["WWW-Authenticate"] == (
            'Bearer resource_metadata="http://testserver/.well-known/oauth-protected-resource/mcp", '
            'scope="viewer agent"'
        )
        assert json.loads(refused.content)["error"]["data"]["error"]["code"] == "not_authenticated"
    wrong = at_mcp("tho_" + "0" * 64)
    assert wrong.status_code == 401
    assert 'error="invalid_token"' in wrong["WWW-Authenticate"]
    assert "resource_metadata=" in wrong["WWW-Authenticate"]


def test_a_grant_acts_as_an_agent_of_the_account_and_is_audited(alice: User) -> None:
    tokens = OAuthClient().tokens(signed_in("alice"))
    assert (tokens["token_type"], tokens["scope"], tokens["expires_in"]) == ("Bearer", "viewer agent", 3600)
    requester = requester_at_mcp(tokens["access_token"])
    assert (requester.user, role_of(requester.user)) == (alice, Role.AGENT)
    assert requester.token is not None
    assert (requester.actor.agent, requester.token.client.name) == ("Tester", "Tester")
    requester.token.refresh_from_db()
    assert requester.token.last_used_at is not None
    (entry,) = AuditEntry.objects.filter(action="grant:create")
    assert (entry.actor, entry.subject) == (alice, f"token:{requester.token.public_id}")
    second = requester_at_mcp(OAuthClient().tokens(signed_in("alice"))["access_token"])
    assert second.actor.agent == "Tester 2", "two hosts are two agents"


def test_an_access_token_opens_mcp_only(alice: User) -> None:
    token = OAuthClient().tokens(signed_in("alice"))["access_token"]
    for path in ("/api/me/", "/api/events/stream"):
        refused = Client().get(path, headers={"Authorization": f"Bearer {token}"})
        assert refused.status_code == 401
        assert "/mcp only" in refused.json()["error"]["message"]


def test_texts_of_tokens_are_not_stored(alice: User) -> None:
    OAuthClient().tokens(signed_in("alice"))
    assert [row.token for model in (AccessToken, RefreshToken) for row in model.objects.all()] == ["", ""]


def reads_with(ticket: Ticket) -> Any:
    path = EVENTS.url({}, ticket.sign())
    request = RequestFactory().get(path)
    request.user = User()
    return _resolve(request, EVENTS, {}, cookies=False)


def test_tickets_and_streams_rest_on_the_grant(alice: User) -> None:
    client = OAuthClient()
    tokens = client.tokens(signed_in("alice"))
    requester = requester_at_mcp(tokens["access_token"])
    ticket = Ticket(EVENTS.name, {}, alice.pk, requester.token and requester.token.public_id)
    _, credential = reads_with(ticket)
    assert credential == requester.credential
    new = client.refresh(tokens["refresh_token"]).json()
    assert at_mcp(tokens["access_token"]).status_code == 401, "a refresh replaces the access token"
    assert requester_at_mcp(new["access_token"]).credential == credential
    assert read_revoked([credential]) == set(), "a refresh drops no stream"
    assert reads_with(ticket)[1] == credential
    assert client.ask("/oauth/revoke", token=new["refresh_token"]).status_code == 200
    assert read_revoked([credential]) == {credential}
    with pytest.raises(Exception, match="is no longer valid"):
        reads_with(ticket)
    assert at_mcp(new["access_token"]).status_code == 401
    assert client.refresh(new["refresh_token"]).json()["error"] == "invalid_grant"


def test_a_role_is_at_most_the_accounts_and_may_be_chosen_lower(alice: User) -> None:
    client = OAuthClient()
    page = client.authorize(signed_in("alice"), scope="viewer agent operator")
    assert [value for value, _ in page.context["form"].fields["role"].choices] == ["viewer", "agent"]
    tokens = client.tokens(signed_in("alice"), role="viewer")
    assert tokens["scope"] == "viewer"
    assert role_of(requester_at_mcp(tokens["access_token"]).user) == Role.VIEWER
    make_account("vera", "viewer")
    browser = signed_in("vera")
    form = client.authorize(browser).context["form"]
    hidden = {each.name: each.value() for each in form.hidden_fields() if each.value() is not None}
    forged = browser.post("/oauth/authorize", hidden | {"role": "agent", "allow": "true"})
    assert forged.status_code == 400
    assert "Location" not in forged


def test_operator_is_never_preselected(operator: User) -> None:
    form = OAuthClient().authorize(signed_in("operator"), scope="viewer agent operator").context["form"]
    assert form.fields["role"].initial == "agent"
    assert [value for value, _ in form.fields["role"].choices] == ["viewer", "agent", "operator"]


def test_a_lower_role_of_the_account_lowers_its_grants(alice: User) -> None:
    token = OAuthClient().tokens(signed_in("alice"))["access_token"]
    alice.groups.set([alice.groups.model.objects.get_or_create(name="viewer")[0]])
    assert role_of(requester_at_mcp(token).user) == Role.VIEWER


def test_without_scope_and_resource_the_usual_ones_are_meant(alice: User) -> None:
    tokens = OAuthClient().tokens(signed_in("alice"), scope=None, resource=None)
    assert tokens["scope"] == "viewer agent"
    assert at_mcp(tokens["access_token"]).status_code == 200


def test_a_confidential_client_proves_itself(alice: User) -> None:
    made = register(token_endpoint_auth_method="client_secret_post").json()
    assert made["client_secret_expires_at"] == 0
    client = OAuthClient(made["client_id"], made["client_secret"])
    assert at_mcp(client.tokens(signed_in("alice"))["access_token"]).status_code == 200
    client.secret = "wrong"
    assert client.exchange(client.code(signed_in("alice"))).status_code == 401


def test_a_client_that_was_refused_is_told_so(alice: User) -> None:
    answer = answer_of(OAuthClient().consent(signed_in("alice"), allow=""))
    assert answer == {"error": "access_denied", "state": "a state", "iss": "http://testserver"}
    assert not ApiToken.objects.filter(client__isnull=False).exists()
