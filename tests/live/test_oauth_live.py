"""The official Python SDK's OAuth client against a whole hub: a call begins the sign-in, and a refresh goes on."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs, urlsplit

import httpx
import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from tests.consent_browser import ConsentBrowser
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
