"""Lifetime of the MCP server in this process.

It is stateless: each request is self-contained, so any web process can answer it. The SDK serves all its revisions of
the protocol at this address, 2026-07-28 and those that begin with `initialize`.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from django.conf import settings
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from taskhub.mcp.protocol import build_server
from taskhub.observability.log_context import task_for_all
from taskhub.web.detached_response import Receive, Send


class McpServer:
    """The server and its task group, entered and left by one task of the server's loop.

    uvicorn's lifespan starts and closes it; daphne has none, so the first request may start it too.
    """

    def __init__(self) -> None:
        self._manager = StreamableHTTPSessionManager(
            build_server(),
            json_response=True,
            stateless=True,
            # Hosts, origins and body limits are checked by Django, as for all other addresses.
            security_settings=None,
            max_request_body_size=settings.DATA_UPLOAD_MAX_MEMORY_SIZE,
        )
        self._stop = asyncio.Event()
        self._up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._life = task_for_all(self._run(), name="mcp-server")

    async def _run(self) -> None:
        try:
            async with self._manager.run():
                self._up.set_result(None)
                await self._stop.wait()
        except Exception as error:
            if self._up.done():
                raise
            self._up.set_exception(error)

    async def handle(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """One request, with its REQUESTER and LISTENING in the scope."""
        await self._up
        await self._manager.handle_request(scope, cast("Any", receive), cast("Any", send))

    async def close(self) -> None:
        """Requests in progress are cut off."""
        self._stop.set()
        await self._life


class _Running:
    server: McpServer | None = None


def get_server() -> McpServer:
    """This process's server, started by the first call."""
    if _Running.server is None:
        _Running.server = McpServer()
    return _Running.server


async def close_server() -> None:
    server, _Running.server = _Running.server, None
    if server is not None:
        await server.close()
