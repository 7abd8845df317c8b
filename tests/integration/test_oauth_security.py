"""OAuth: the attacks of RFC 9700 and of the MCP specification, each refused."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from oauth2_provider.models import AccessToken
from oauthlib.common import Request

from taskhub.auth.rate_limits import failures
from taskhub.events.revocation import read_revoked
from taskhub.models import ApiToken, AuditEntry
from taskhub.oauth.endpoints import TokenEndpoint
from taskhub.oauth.validator import HubValidator
from tests.oauth_flow import CALLBACK, OAuthClient, answer_of, at_mcp, challenge, register, requester_at_mcp, signed_in

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]

ISSUER = "http://testserver"


@pytest.fixture
def browser(alice: User) -> Client:
    return signed_in("alice")


@pytest.fixture
def client(alice: User) -> OAuthClient:
    return OAuthClient()


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"resource": "https://other.example/mcp"}, "invalid_target"),
        ({"resource": "http://testserver/"}, "invalid_target"),
        ({"resource": ["http://testserver/mcp", "https://other.example/mcp"]}, "invalid_target"),
        ({"code_challenge_method": "plain", "code_challenge": "v" * 50}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "agent admin"}, "invalid_scope"),
    ],
)
def test_a_wrong_request_goes_back_to_the_client_with_its_state_and_our_issuer(
    client: OAuthClient, browser: Client, query: dict[str, Any], error: str
) -> None:
    response = client.authorize(browser, **query)
    assert response["Location"].startswith(f"{CALLBACK}?")
    answer = answer_of(response)
    assert (answer["error"], answer["state"], answer["iss"]) == (error, "a state", ISSUER)
    assert "code" not in answer


@pytest.mark.parametrize(
    "query",
    [
        {"redirect_uri": CALLBACK + "x"},
        {"redirect_uri": CALLBACK + "?next=1"},
        {"redirect_uri": CALLBACK + "#x"},
        {"redirect_uri": CALLBACK + "\n"},
        {"redirect_uri": CALLBACK.replace("//", "//claude.ai@")},
        {"redirect_uri": CALLBACK.replace("http", "https")},
        {"redirect_uri": "http://127.0.0.1.evil.example:1234/callback"},
        {"redirect_uri": "http://localhost:1234/callback"},
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": "javascript:alert(1)"},
        {"client_id": "unknown"},
        {"client_id": "nul\0"},
    ],
)
def test_an_address_that_is_not_the_clients_is_never_redirected_to(
    client: OAuthClient, browser: Client, query: dict[str, str]
) -> None:
    response = client.authorize(browser, **query)
    assert response.status_code == 400
    assert "Location" not in response
    assert "This request cannot be answered" in response.text


def test_only_the_port_of_loopback_may_differ(client: OAuthClient, browser: Client) -> None:
    response = client.consent(browser, redirect_uri="http://127.0.0.1:4321/callback")
    assert urlsplit(response["Location"]).port == 4321
    by_name = OAuthClient(register(redirect_uris=["http://localhost/callback"]).json()["client_id"])
    assert by_name.authorize(browser, redirect_uri="http://localhost:3118/callback").status_code == 200
    web = OAuthClient(register(redirect_uris=["https://app.example/cb"]).json()["client_id"])
    assert web.authorize(browser, redirect_uri="https://app.example/cb").status_code == 200
    assert web.authorize(browser, redirect_uri="https://app.example:8443/cb").status_code == 400


def test_the_issuer_in_the_answer_is_that_of_the_metadata(client: OAuthClient, browser: Client) -> None:
    """RFC 9207: a client that was led to another server notices."""
    own = Client().get("/.well-known/oauth-authorization-server").json()["issuer"]
    assert answer_of(client.consent(browser))["iss"] == own == ISSUER


def test_a_code_works_once_and_its_return_ends_the_grant(client: OAuthClient, browser: Client) -> None:
    code = client.code(browser)
    tokens = client.exchange(code).json()
    credential = requester_at_mcp(tokens["access_token"]).credential
    again = client.exchange(code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert at_mcp(tokens["access_token"]).status_code == 401
    assert read_revoked([credential] if credential else []) == {credential}
    (entry,) = AuditEntry.objects.filter(action="grant:end")
    assert entry.changes["reason"] == [None, "code_reused"]


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"code_verifier": "w" * 50}, "invalid_grant"),
        ({"code_verifier": challenge()}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_grant"),
        ({"redirect_uri": CALLBACK + "x"}, "invalid_request"),
        ({"resource": "https://other.example/mcp"}, "invalid_target"),
        ({"code": "x\0"}, "invalid_request"),
    ],
)
def test_a_code_is_no_use_to_others(client: OAuthClient, browser: Client, form: dict[str, str], error: str) -> None:
    code = client.code(browser)
    refused = client.exchange(code, **form)
    assert (refused.status_code, refused.json()["error"]) == (400, error)
    other = OAuthClient()
    assert other.exchange(code).json()["error"] == "invalid_grant"
    assert client.exchange(code).status_code == 200, "nor is it lost to its client by that"


def test_a_code_ends_after_a_minute(client: OAuthClient, browser: Client, advance: Callable[[float], None]) -> None:
    code = client.code(browser)
    advance(61)
    assert client.exchange(code).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "ask",
    [
        lambda: Client().get("/.well-known/oauth-protected-resource/mcp", headers={"Host": "testserver:99999"}),
        lambda: Client().post("/mcp", b"{}", content_type="application/json", headers={"Host": "testserver:99999"}),
    ],
)
def test_a_host_with_a_port_that_is_none_has_no_resource(ask: Callable[[], Any]) -> None:
    """Or a resource that is no address would be the same as this hub's."""
    assert ask().status_code == 400


def test_a_token_for_another_audience_opens_nothing(client: OAuthClient, browser: Client) -> None:
    token = client.tokens(browser)["access_token"]
    AccessToken.objects.update(resource=["https://other.example/mcp"])
    assert at_mcp(token).status_code == 401
    AccessToken.objects.update(resource=[])
    assert at_mcp(token).status_code == 401, "nor does one for none"


def test_an_expired_token_is_refused_and_is_no_guess(client: OAuthClient, browser: Client, settings: Any) -> None:
    settings.TASKHUB_FAILED_CREDENTIALS_PER_MINUTE = 1
    failures.forget()
    tokens = client.tokens(browser)
    AccessToken.objects.update(expires=timezone.now() - timedelta(seconds=1))
    for _ in range(3):
        refused = at_mcp(tokens["access_token"])
        assert refused.status_code == 401
        assert 'error="invalid_token"' in refused["WWW-Authenticate"]
    assert at_mcp(client.refresh(tokens["refresh_token"]).json()["access_token"]).status_code == 200
    assert [at_mcp("tho_" + "1" * 64).status_code for _ in range(2)] == [401, 429]


def test_a_refresh_token_works_once_and_its_return_ends_the_grant(client: OAuthClient, browser: Client) -> None:
    first = client.tokens(browser)
    credential = requester_at_mcp(first["access_token"]).credential
    second = client.refresh(first["refresh_token"]).json()
    assert client.refresh(first["refresh_token"]).json()["error"] == "invalid_grant"
    assert at_mcp(second["access_token"]).status_code == 401
    assert client.refresh(second["refresh_token"]).json()["error"] == "invalid_grant"
    assert read_revoked([credential] if credential else []) == {credential}
    (entry,) = AuditEntry.objects.filter(action="grant:end")
    assert entry.changes["reason"] == [None, "refresh_token_reused"]


def meanwhile(monkeypatch: pytest.MonkeyPatch, name: str, other: Callable[[], Any]) -> None:
    """Another request is quicker: it is answered just before this one calls the method of the validator."""
    method, others = getattr(HubValidator, name), [other]

    def called(*args: Any, **kwargs: Any) -> Any:
        if others:
            assert others.pop()().status_code == 200
        return method(*args, **kwargs)

    monkeypatch.setattr(HubValidator, name, called)


def test_of_two_refreshes_at_once_the_second_ends_the_grant(
    client: OAuthClient, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = client.tokens(browser)
    made: list[Any] = []

    def other() -> Any:
        made.append(client.refresh(tokens["refresh_token"]))
        return made[0]

    meanwhile(monkeypatch, "save_bearer_token", other)
    refused = client.refresh(tokens["refresh_token"])
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert at_mcp(made[0].json()["access_token"]).status_code == 401
    (entry,) = AuditEntry.objects.filter(action="grant:end")
    assert entry.changes["reason"] == [None, "refresh_token_reused"]


@pytest.mark.parametrize(
    "method", ["get_code_challenge", "get_code_challenge_method", "confirm_redirect_uri", "save_bearer_token"]
)
def test_of_two_uses_of_a_code_at_once_the_second_ends_the_grant(
    client: OAuthClient, browser: Client, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    code = client.code(browser)
    meanwhile(monkeypatch, method, lambda: client.exchange(code))
    refused = client.exchange(code)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert not ApiToken.objects.filter(client__isnull=False).exists()
    (entry,) = AuditEntry.objects.filter(action="grant:end")
    assert entry.changes["reason"] == [None, "code_reused"]


def test_a_grant_that_ends_before_its_token_is_answered_is_told_as_ended(
    client: OAuthClient, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second use of the code may end it between the transaction and the answer of the first."""
    create = TokenEndpoint.create_token_response

    def ended(self: TokenEndpoint, request: Any) -> Any:
        answer = create(self, request)
        AccessToken.objects.all().delete()
        return answer

    monkeypatch.setattr(TokenEndpoint, "create_token_response", ended)
    answer = client.exchange(client.code(browser))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize("path", ["/oauth/token?a=%zz", "/oauth/revoke?a=%zz", "/oauth/token?a=1"])
def test_parameters_in_the_address_are_refused(client: OAuthClient, path: str) -> None:
    refused = client.ask(path, token="x", grant_type="refresh_token", refresh_token="x")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")


def test_an_address_with_a_bare_percent_sign_is_refused(browser: Client) -> None:
    for ask in (browser.get, browser.post):
        refused = ask("/oauth/authorize?state=%zz")
        assert refused.status_code == 400
        assert "This request cannot be answered" in refused.text


def test_a_nul_in_the_header_is_an_unknown_client(client: OAuthClient, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):  # PostgreSQL would refuse it
        assert HubValidator()._load_application("a\0", Request("/oauth/token")) is None
    header = {"Authorization": "Basic " + b64encode(b"%00:x").decode()}
    refused = Client().post("/oauth/token", {"grant_type": "authorization_code", "code": "x"}, headers=header)
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/revoke"])
def test_a_wrong_secret_is_a_wrong_credential_of_its_address(path: str, settings: Any) -> None:
    settings.TASKHUB_FAILED_CREDENTIALS_PER_MINUTE = 2
    made = register(token_endpoint_auth_method="client_secret_post").json()
    wrong = OAuthClient(made["client_id"], "x" * 128)
    form = {"grant_type": "refresh_token", "refresh_token": "x", "token": "x"}
    answers = [wrong.ask(path, **form) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert answers[-1].json()["error"] == "slow_down"
    right = OAuthClient(made["client_id"], made["client_secret"]).ask(path, **form)
    assert right.status_code in (200, 400), "a right one always passes"


def test_a_refresh_neither_widens_nor_narrows_nor_changes_the_audience(client: OAuthClient, browser: Client) -> None:
    tokens = client.tokens(browser)
    assert client.refresh(tokens["refresh_token"], scope="operator").json()["error"] == "invalid_scope"
    assert client.refresh(tokens["refresh_token"], resource="https://a.example/mcp").json()["error"] == "invalid_target"
    again = client.refresh(tokens["refresh_token"], scope="viewer", resource="http://testserver/mcp/").json()
    assert again["scope"] == "viewer agent"
    assert at_mcp(again["access_token"]).status_code == 200


def test_tokens_of_another_client_are_unknown(client: OAuthClient, browser: Client) -> None:
    tokens, other = client.tokens(browser), OAuthClient()
    assert other.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
    assert other.ask("/oauth/revoke", token=tokens["refresh_token"]).status_code == 200
    assert at_mcp(tokens["access_token"]).status_code == 200
    assert client.ask("/oauth/revoke", token=tokens["access_token"]).status_code == 200
    assert at_mcp(tokens["access_token"]).status_code == 401
    assert client.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "grant", ["password", "client_credentials", "urn:ietf:params:oauth:grant-type:device_code", "implicit", ""]
)
def test_other_grants_do_not_exist(client: OAuthClient, grant: str) -> None:
    refused = client.ask(grant_type=grant, username="alice", password="alice", device_code="x")
    assert (refused.status_code, refused.json()["error"]) == (400, "unsupported_grant_type")


def test_a_deactivated_account_has_no_grants(client: OAuthClient, browser: Client, alice: User) -> None:
    code, tokens = client.code(browser), client.tokens(browser)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert at_mcp(tokens["access_token"]).status_code == 401
    assert client.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
    assert client.exchange(code).json()["error"] == "invalid_grant"


def test_a_grant_ends_with_its_days_and_with_its_client(client: OAuthClient, browser: Client, settings: Any) -> None:
    settings.TASKHUB_OAUTH_GRANT_DAYS = 3
    tokens = client.tokens(browser)
    grant = ApiToken.objects.get(client__isnull=False)
    assert timedelta(days=2) < grant.expiry - timezone.now() <= timedelta(days=3)
    ApiToken.objects.update(expiry=timezone.now() - timedelta(seconds=1))
    assert at_mcp(tokens["access_token"]).status_code == 401
    assert client.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
    ApiToken.objects.update(expiry=timezone.now() + timedelta(days=1))
    assert grant.client is not None
    grant.client.delete()
    assert not ApiToken.objects.filter(pk=grant.pk).exists()
    assert at_mcp(tokens["access_token"]).status_code == 401


def test_the_consent_page_cannot_be_framed_forged_or_skipped(client: OAuthClient, browser: Client) -> None:
    page = client.authorize(browser, approval_prompt="auto")
    assert page["X-Frame-Options"] == "DENY"
    policy = page["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self' http://127.0.0.1:1234" in policy
    assert "no-store" in page["Cache-Control"]
    client.tokens(browser)
    again = client.authorize(browser, approval_prompt="auto", prompt="none")
    assert again.status_code == 200, "an earlier consent does not answer a later request"
    client = OAuthClient(register(redirect_uris=["http://[::1]/cb"]).json()["client_id"])
    policy = client.authorize(browser, redirect_uri="http://[::1]:1234/cb")["Content-Security-Policy"]
    assert "form-action 'self' http:;" in policy + ";", "a policy cannot name an IPv6 address"
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = browser.cookies
    forged = strict.post("/oauth/authorize", {"allow": "true", "client_id": client.client_id, "role": "agent"})
    assert forged.status_code == 403


def test_without_a_session_the_page_asks_to_sign_in_first(client: OAuthClient) -> None:
    response = client.authorize(Client(), prompt="none", redirect_uri="https://evil.example/")
    assert response.status_code == 302
    assert response["Location"].startswith("/login/?next=/oauth/authorize")


def test_an_account_without_a_role_cannot_consent(client: OAuthClient, browser: Client, alice: User, settings) -> None:
    settings.TASKHUB_OPEN_READING = False
    alice.groups.clear()
    assert client.authorize(browser).status_code == 403


def test_a_consent_with_a_token_gives_no_more_than_the_token(client: OAuthClient, alice: User) -> None:
    _, text = ApiToken.objects.create(user=alice, role="viewer", expiry=timedelta(hours=2))
    browser = Client()
    assert browser.post("/login/token/", {"token": text}).status_code == 302
    page = client.authorize(browser)
    assert [value for value, _ in page.context["form"].fields["role"].choices] == ["viewer"]
    client.tokens(browser, role="viewer")
    grant = ApiToken.objects.get(client__isnull=False)
    assert (grant.role, grant.expiry - timezone.now() <= timedelta(hours=2)) == ("viewer", True)
