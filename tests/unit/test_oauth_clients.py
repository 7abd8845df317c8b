"""How OAuth clients become known: dynamic registration, and metadata documents fetched through the webhooks' guard."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpcore
import pytest
from django.conf import global_settings
from django.contrib.auth.hashers import check_password
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from oauth2_provider.models import AccessToken, Application

from config.settings import oauth
from taskhub.services.oauth_grants import host_of, oauth_trim
from tests.oauth_flow import CALLBACK, OAuthClient, at_mcp, register, signed_in

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite_suffices]

DOCUMENT = "https://agents.example/client.json"


@pytest.fixture(autouse=True)
def no_document_is_remembered() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


def test_a_registration_gives_an_id_and_no_power_over_it() -> None:
    answer = register()
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    told = answer.json()
    assert not {"client_secret", "registration_access_token", "registration_client_uri"} & told.keys()
    assert (told["client_name"], told["redirect_uris"]) == ("Tester", [CALLBACK])
    assert not AccessToken.objects.exists()
    secret = register(token_endpoint_auth_method="client_secret_basic").json()["client_secret"]
    assert secret not in Application.objects.values_list("client_secret", flat=True)


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ({"redirect_uris": []}, "invalid_redirect_uri"),
        ({"redirect_uris": "https://a.example"}, "invalid_redirect_uri"),
        ({"redirect_uris": ["http://a.example/cb"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://a.example/cb https://b.example/cb"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://a.example/cb#x"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://a@b.example/cb"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://claude.ai;.b.example/cb"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://claude.ai,b.example/cb"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["javascript:alert(1)"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["data:text/html,x"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://a.example/cb"] * 11}, "invalid_redirect_uri"),
        ({"grant_types": ["client_credentials"]}, "invalid_client_metadata"),
        ({"grant_types": ["authorization_code", "implicit"]}, "invalid_client_metadata"),
        ({"response_types": ["token"]}, "invalid_client_metadata"),
        ({"client_name": "a\0b"}, "invalid_client_metadata"),
        ({"client_name": {"en": "x"}}, "invalid_client_metadata"),
        ({"client_name": "x" * 101}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "private_key_jwt"}, "invalid_client_metadata"),
        ({"padding": "x" * 20_000}, "invalid_client_metadata"),
    ],
)
def test_what_no_client_may_be_is_refused(metadata: dict[str, Any], error: str) -> None:
    refused = register(**metadata)
    assert (refused.status_code, refused.json()["error"]) == (400, error)
    assert not Application.objects.exists()


def test_a_body_that_is_no_json_is_refused() -> None:
    """Also a form with files, which Django reads but once."""
    refused = Client().post("/oauth/register", {"client_name": "x"})
    assert refused["Content-Type"] == "application/json"
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client_metadata")


def test_a_secret_is_digested_with_one_round_and_not_by_the_hasher_of_passwords() -> None:
    made = register(token_endpoint_auth_method="client_secret_post").json()
    digest = Application.objects.get(client_id=made["client_id"]).client_secret
    assert digest.split("$")[:2] == ["client_secret", "1"]
    assert check_password(made["client_secret"], digest)
    assert not check_password("x" * 128, digest)
    assert global_settings.PASSWORD_HASHERS[0] == oauth.PASSWORD_HASHERS[0]


def test_private_schemes_of_programs_are_a_setting(settings: Any) -> None:
    assert register(redirect_uris=["cursor://anysphere.cursor-mcp/oauth/callback"]).status_code == 201
    settings.TASKHUB_OAUTH_REDIRECT_SCHEMES = []
    assert register(redirect_uris=["cursor://anysphere.cursor-mcp/oauth/callback"]).status_code == 400


def test_registrations_are_limited_and_can_be_switched_off(settings: Any) -> None:
    settings.TASKHUB_OAUTH_REGISTRATIONS_PER_MINUTE = 2
    assert [register().status_code for _ in range(3)] == [201, 201, 429]
    settings.OAUTH2_PROVIDER = {**settings.OAUTH2_PROVIDER, "DCR_ENABLED": False}
    assert register().status_code == 404
    assert "registration_endpoint" not in Client().get("/.well-known/oauth-authorization-server").json()


def test_clients_without_a_grant_are_deleted_after_a_day(alice: User) -> None:
    used, unused = OAuthClient(), OAuthClient()
    used.tokens(signed_in("alice"))
    oauth_trim()
    assert Application.objects.count() == 2
    Application.objects.update(created=timezone.now() - timedelta(days=2))
    oauth_trim()
    assert [client.client_id for client in Application.objects.all()] == [used.client_id]
    assert unused.client_id != used.client_id


class Host:
    """The network as the hub sees it: what the name resolves to, and what the server there answers, byte for byte."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.address = "93.184.216.34"
        self.document: Any = {"client_id": DOCUMENT, "client_name": "Agents", "redirect_uris": [CALLBACK]}
        self.status, self.kind, self.body = 200, "application/json", b""
        self.asked = 0
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)
        monkeypatch.setattr(httpcore, "AnyIOBackend", self._backend)

    def _look_up(self, host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.address, port))]

    def _backend(self) -> httpcore.AsyncMockBackend:
        self.asked += 1
        body = self.body or json.dumps(self.document).encode()
        head = f"HTTP/1.1 {self.status} x\r\nContent-Type: {self.kind}\r\nContent-Length: {len(body)}\r\n"
        return httpcore.AsyncMockBackend([f"{head}Location: https://10.0.0.1/\r\n\r\n".encode(), body])


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def test_a_client_is_known_by_its_document_and_shown_by_its_host(host: Host, alice: User) -> None:
    client = OAuthClient(DOCUMENT)
    browser = signed_in("alice")
    page = client.authorize(browser)
    assert page.status_code == 200
    text = page.text
    assert text.index("agents.example asks to act for alice") < text.index("It calls itself “Agents”")
    assert "127.0.0.1:1234" in text
    assert at_mcp(client.tokens(browser)["access_token"]).status_code == 200
    assert host.asked == 1, "it is kept for an hour"
    settings_page = browser.get("/settings/").text
    assert "<strong>agents.example</strong> “Agents”" in settings_page


@pytest.mark.parametrize(
    "wrong",
    [
        {"address": "10.0.0.1"},
        {"address": "169.254.169.254"},
        {"address": "127.0.0.1"},
        {"status": 302},
        {"status": 404},
        {"kind": "text/html"},
        {"document": {"client_id": DOCUMENT, "redirect_uris": [CALLBACK], "padding": "x" * 20_000}},
        {"body": b"no JSON"},
        {"document": [1]},
        {"document": {"client_id": "https://other.example/c", "redirect_uris": [CALLBACK]}},
        {"document": {"client_id": DOCUMENT, "redirect_uris": ["http://evil.example/"]}},
        {"document": {"client_id": DOCUMENT, "redirect_uris": [CALLBACK], "client_secret": "s"}},
    ],
)
def test_a_bad_document_is_an_unknown_client(host: Host, alice: User, wrong: dict[str, Any]) -> None:
    vars(host).update(wrong)
    client, browser = OAuthClient(DOCUMENT), signed_in("alice")
    assert client.authorize(browser).status_code == 400
    asked = host.asked
    assert client.authorize(browser).status_code == 400
    assert host.asked == asked, "a failure is remembered for a minute"
    assert not Application.objects.exists()


@pytest.mark.parametrize(
    "client_id",
    [
        "https://evil.example?.claude.ai/x",
        "https://evil.example/?.claude.ai/x",
        "https://evil.example?/../claude.ai/x",
        "HTTPS://evil.example/x",
        "https://claude.ai@evil.example/x",
        "https://evil.example/a/../x",
    ],
)
def test_an_id_that_hides_its_host_is_an_unknown_client(host: Host, alice: User, client_id: str) -> None:
    host.document = {**host.document, "client_id": client_id}
    assert OAuthClient(client_id).authorize(signed_in("alice")).status_code == 400
    assert (host.asked, Application.objects.exists()) == (0, False)


def test_the_host_of_an_id_is_what_a_browser_takes_for_it() -> None:
    shown = {
        "https://agents.example/client.json": "agents.example",
        "https://evil.example?.claude.ai/x": "evil.example",
        "https://agents.example:8443/x": "agents.example:8443",
        "HTTPS://evil.example/x": "",
        "https://[": "",
        "Zm9vYmFy": "",
    }
    assert {client_id: host_of(client_id) for client_id in shown} == shown


@pytest.mark.parametrize("client_id", [DOCUMENT, "https://10.0.0.1/client.json", "http://agents.example/client.json"])
def test_private_addresses_stay_closed_where_webhooks_may_reach_them(
    host: Host, alice: User, settings: Any, client_id: str
) -> None:
    settings.TASKHUB_WEBHOOKS_ALLOW_PRIVATE = True
    host.address = "10.0.0.1"
    host.document = {**host.document, "client_id": client_id}
    assert OAuthClient(client_id).authorize(signed_in("alice")).status_code == 400
    assert not Application.objects.exists()


def test_a_document_that_changes_takes_its_old_addresses_along(host: Host, alice: User) -> None:
    client, browser = OAuthClient(DOCUMENT), signed_in("alice")
    assert client.authorize(browser).status_code == 200
    host.document = {**host.document, "redirect_uris": ["https://agents.example/new"]}
    Application.objects.update(cimd_expires_at=timezone.now() - timedelta(seconds=1))
    assert client.authorize(browser).status_code == 400
    assert client.authorize(browser, redirect_uri="https://agents.example/new").status_code == 200
    host.status = 500
    Application.objects.update(cimd_expires_at=timezone.now() - timedelta(seconds=1))
    assert client.authorize(browser, redirect_uri="https://agents.example/new").status_code == 200


def test_documents_are_fetched_for_signed_in_accounts_only(host: Host, settings: Any, alice: User) -> None:
    assert OAuthClient(DOCUMENT).authorize(Client()).status_code == 302
    assert OAuthClient(DOCUMENT).exchange("a code").status_code == 401
    assert host.asked == 0
    settings.OAUTH2_PROVIDER = {**settings.OAUTH2_PROVIDER, "CIMD_ENABLED": False}
    assert OAuthClient(DOCUMENT).authorize(signed_in("alice")).status_code == 400
    assert host.asked == 0
