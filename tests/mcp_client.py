"""The official client, and bare messages, against a hub that runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

import httpx
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, KNOWN_PROTOCOL_VERSIONS

REVISIONS = KNOWN_PROTOCOL_VERSIONS
ACCEPT = {"Accept": "application/json, text/event-stream"}


@asynccontextmanager
async def connected(address: str, token: str | None = None, revision: str = "auto") -> AsyncIterator[Client]:
    """A client that speaks this revision, or finds out by itself which."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    by_handshake = revision in HANDSHAKE_PROTOCOL_VERSIONS
    # The client offers the newest revision that begins with `initialize`; older clients offered theirs.
    offered = mock.patch("mcp.client.session.LATEST_HANDSHAKE_VERSION", revision if by_handshake else "2025-11-25")
    limits = httpx2.Limits(max_connections=None)
    with offered:
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False, limits=limits) as http,
            Client(
                streamable_http_client(f"{address}/mcp", http_client=http), mode="legacy" if by_handshake else revision
            ) as client,
        ):
            yield client


def rpc(
    address: str, method: str = "tools/list", params: Any = None, *, path: str = "/mcp", **headers: str
) -> httpx.Response:
    """One bare message; `headers` with _ for -."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(address + path, json=body, headers=ACCEPT | named, timeout=60, trust_env=False)
