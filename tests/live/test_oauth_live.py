"""OAuth clients against a whole hub: the official Python SDK's, and one that knows nothing but the hub's address."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from tests.consent_browser import ConsentBrowser
from tests.oauth_flow import VERIFIER, challenge
from tests.processes import RunningHub

CALLBACK = "http://127.0.0.1:49152/callback"


class Memory:
    """What the host of an agent would keep between its runs."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


async def test_the_official_client_signs_in_when_a_call_needs_an_account(hub: RunningHub) -> None:
    memory, visited = Memory(), []

    async def redirect(url: str) -> None:
        with ConsentBrowser(hub.address, hub.token) as browser:
            visited.append(await asyncio.to_thread(browser.agree, url))

    async def callback() -> AuthorizationCodeResult:
        answer = {name: values[0] for name, values in parse_qs(urlsplit(visited[-1]).query).items()}
        return AuthorizationCodeResult(code=answer["code"], state=answer["state"], iss=answer["iss"])

    metadata = OAuthClientMetadata(client_name="Python SDK", redirect_uris=[CALLBACK])  # type: ignore[list-item]
    auth = OAuthClientProvider(f"{hub.address}/mcp", metadata, memory, redirect, callback)

    async def created(title: str) -> str:
        async with (
            httpx2.AsyncClient(auth=auth, timeout=60, trust_env=False) as http,
            Client(streamable_http_client(f"{hub.address}/mcp", http_client=http)) as client,
        ):
            assert (await client.list_tools()).tools
            done = await client.call_tool("create_tasks", {"tasks": [{"title": title}]})
            assert not done.is_error
            return done.structured_content["tasks"][0]["id"]

    made = await created("by OAuth")
    task = (await asyncio.to_thread(httpx.get, f"{hub.address}/api/tasks/{made}/")).json()
    assert (task["title"], task["created_by"]) == ("by OAuth", "operator")
    assert len(visited) == 1, "reading needed no sign-in"
    assert visited[0].startswith(f"{CALLBACK}?")
    assert memory.tokens is not None
    first = memory.tokens.access_token
    auth.context.token_expiry_time = 1.0  # as an hour later
    await created("after a refresh")
    assert memory.tokens.access_token != first
    assert len(visited) == 1, "a refresh asks no person"


def test_a_client_that_has_only_the_address_is_led_to_a_sign_in(hub: RunningHub) -> None:
    """`claude mcp add --transport http taskhub http://localhost:8000/mcp`, step by step as its client goes."""
    address = hub.address.replace("127.0.0.1", "localhost")
    with httpx.Client(timeout=60, trust_env=False) as http:

        def send(method: str, params: dict[str, Any], token: str = "") -> httpx.Response:
            headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}
            headers |= {"Authorization": f"Bearer {token}"} if token else {}
            message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            return http.post(f"{address}/mcp", json=message, headers=headers)

        call = {"name": "create_tasks", "arguments": {"tasks": [{"title": "by an address alone"}]}}
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "host", "version": "1"}}
        assert send("initialize", hello).status_code == 200
        refused = send("tools/call", call)
        assert refused.status_code == 401
        metadata_at, scope = re.findall(r'(?:resource_metadata|scope)="([^"]+)"', refused.headers["WWW-Authenticate"])
        resource = http.get(metadata_at).json()
        assert resource["resource"] == f"{address}/mcp"
        (issuer,) = resource["authorization_servers"]
        server = http.get(f"{issuer}/.well-known/oauth-authorization-server").json()
        assert (server["issuer"], server["code_challenge_methods_supported"]) == (issuer, ["S256"])
        registered = {
            "client_name": "A host",
            "redirect_uris": ["http://localhost:49154/callback"],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        }
        client = http.post(server["registration_endpoint"], json=registered)
        assert client.status_code == 201
        asked = {
            "response_type": "code",
            "client_id": client.json()["client_id"],
            "redirect_uri": "http://localhost:49155/callback",  # the port of this run
            "code_challenge": challenge(),
            "code_challenge_method": "S256",
            "state": "s",
            "scope": scope,
            "resource": resource["resource"],
        }
        with ConsentBrowser(address, hub.token) as browser:
            back = browser.agree(f"{server['authorization_endpoint']}?{urlencode(asked)}")
        assert back.startswith("http://localhost:49155/callback?")
        answer = {name: values[0] for name, values in parse_qs(urlsplit(back).query).items()}
        assert (answer["state"], answer["iss"]) == ("s", issuer)
        proof = {"grant_type": "authorization_code", "code": answer["code"], "code_verifier": VERIFIER}
        same = {name: asked[name] for name in ("client_id", "redirect_uri", "resource")}
        tokens = http.post(server["token_endpoint"], data=proof | same).json()
        done = send("tools/call", call, tokens["access_token"])
        assert done.status_code == 200, done.text
        assert '"isError":true' not in done.text.replace(" ", "")
        assert "by an address alone" in {task["title"] for task in http.get(f"{address}/api/tasks/").json()["results"]}
        revoked = {"token": tokens["refresh_token"], "client_id": asked["client_id"]}
        assert http.post(server["revocation_endpoint"], data=revoked).status_code == 200
        assert send("tools/call", call, tokens["access_token"]).status_code == 401
