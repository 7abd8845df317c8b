"""An OAuth client of tests in process: registration, consent by the forms of the page, tokens, requests to `/mcp`."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.http import HttpResponse
from django.test import Client, RequestFactory

from taskhub.mcp.endpoint import mcp
from taskhub.mcp.principal import REQUESTER, Requester

CALLBACK = "http://127.0.0.1:1234/callback"
VERIFIER = "v" * 50
RESOURCE = "http://testserver/mcp"


def challenge(verifier: str = VERIFIER) -> str:
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")


def signed_in(name: str) -> Client:
    client = Client()
    assert client.post("/login/", {"username": name, "password": name}).status_code == 302
    return client


def answer_of(response: HttpResponse) -> dict[str, str]:
    """What the redirect back to the client says."""
    assert response.status_code == 302, response.content
    return dict(parse_qsl(urlsplit(response["Location"]).query))


def register(**metadata: Any) -> HttpResponse:
    given = {"client_name": "Tester", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"}
    return Client().post("/oauth/register", given | metadata, content_type="application/json")


@dataclass
class OAuthClient:
    client_id: str = field(default_factory=lambda: str(register().json()["client_id"]))
    secret: str = ""

    def authorize(self, browser: Client, **query: Any) -> Any:
        """The consent page, or a refusal. A parameter that is None is left out."""
        asked = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": CALLBACK,
            "state": "a state",
            "code_challenge": challenge(),
            "code_challenge_method": "S256",
            "resource": RESOURCE,
            "scope": "viewer agent",
        } | query
        return browser.get("/oauth/authorize", {name: value for name, value in asked.items() if value is not None})

    def consent(self, browser: Client, *, allow: str = "true", role: str = "agent", **query: Any) -> HttpResponse:
        """The redirect back, by the form of the page."""
        page = self.authorize(browser, **query)
        assert page.status_code == 200, page.content
        form = page.context["form"]
        hidden = {each.name: each.value() for each in form.hidden_fields() if each.value() is not None}
        return browser.post("/oauth/authorize", hidden | {"role": role, "allow": allow})

    def code(self, browser: Client, **options: Any) -> str:
        return answer_of(self.consent(browser, **options))["code"]

    def ask(self, path: str = "/oauth/token", **form: Any) -> HttpResponse:
        own = {"client_id": self.client_id} | ({"client_secret": self.secret} if self.secret else {})
        return Client().post(path, own | form)

    def exchange(self, code: str, /, **form: Any) -> HttpResponse:
        given = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
        return self.ask(**(given | form))

    def refresh(self, token: str, **form: Any) -> HttpResponse:
        return self.ask(grant_type="refresh_token", refresh_token=token, **form)

    def tokens(self, browser: Client, **options: Any) -> dict[str, Any]:
        """A new grant's: `access_token`, `refresh_token`, `scope`."""
        answer = self.exchange(self.code(browser, **options))
        assert answer.status_code == 200, answer.content
        found: dict[str, Any] = answer.json()
        return found


def at_mcp(token: str | None = None, method: str = "tools/list", **params: Any) -> HttpResponse:
    """The view's response: a refusal, or the exchange that the server would send."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    request: Any = RequestFactory().post("/mcp", json.dumps(message), content_type="application/json", headers=headers)
    request.scope = {"headers": []}
    response: Any = mcp(request)
    return response


def requester_at_mcp(token: str) -> Requester:
    """Whom `/mcp` takes the bearer of the token for."""
    exchange: Any = at_mcp(token)
    assert exchange.status_code == 200, exchange.content
    found: Requester = exchange._scope[REQUESTER]
    return found
