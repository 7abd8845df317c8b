"""Logs of builds, read where Daytona's API says that they are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Final

import aiohttp
import daytona

from sandboxes.errors import SandboxError, SandboxUnavailable
from sandboxes.gateway.refusals import plain
from sandboxes.gateway.translation import fetch, fetch_chunks, past_breaker
from sandboxes.gateway.values import REQUEST_S, Document

log = logging.getLogger(__name__)

TAIL_LINES: Final = 20
_TAIL_BYTES: Final = 4096
_REASON_LENGTH: Final = 1000
_TAIL_S: Final = 10.0
_SILENCE: Final = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_S, sock_read=300.0)
"""A step of a build may say nothing for minutes."""


class BuildLogs:
    """Those that a client may read."""

    def __init__(self, client: daytona.AsyncDaytona) -> None:
        self._client = client

    async def text(
        self, address: Awaitable[aiohttp.ClientResponse], *, follow: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """The log, with `follow` until the build has ended; `address` is the request for its address.

        Raises SandboxError.
        """
        with past_breaker():
            found = await fetch("build_log", address)
        url = found.get("url") if isinstance(found, dict) else None
        session = self._client._shared_session.session  # noqa: SLF001 - the SDK has no public way to its session
        if session is None or not isinstance(url, str) or not url.startswith(("https://", "http://")):
            raise SandboxUnavailable
        # The SDK takes this address from Daytona in the same way, and shows it the same key.
        headers = dict(self._client._api_client.default_headers)  # noqa: SLF001 - likewise
        query = {"follow": "true"} if follow else {}
        asked = session.get(url, params=query, headers=headers, timeout=_SILENCE, allow_redirects=False)
        async with aclosing(fetch_chunks("build_log", asked)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def tail(self, address: Awaitable[aiohttp.ClientResponse]) -> str:
        """The last lines; "" where they cannot be read in time: why a build has failed is told without them, too."""
        last = b""
        try:
            async with asyncio.timeout(_TAIL_S), aclosing(self.text(address)) as chunks:
                async for chunk in chunks:
                    last = (last + chunk)[-_TAIL_BYTES:]
        except (SandboxError, TimeoutError) as error:
            log.info("the log of a build is not read: %r", error)
        return "\n".join(plain(last.decode(errors="replace")).splitlines()[-TAIL_LINES:])


def failure(document: Document, tail: str = "") -> str:
    """Why a sandbox or a snapshot is not there: Daytona's reason, and the last lines of its build. For operators."""
    return "\n".join(filter(None, (plain(str(document.get("errorReason") or ""))[:_REASON_LENGTH], tail)))
