"""Push listener: state changes that Daytona pushes over its socket.io gateway.

Each web process with viewers of a sandbox's status holds one connection. A pushed change is handled like a poll's: the
first process that writes it publishes it, the others find nothing new. There is no replay after a gap, and none is
needed: polls remain authoritative.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.db import DatabaseError

from sandboxes.backoff import Backoff
from sandboxes.services.sandbox_state import sandboxes_observe
from taskhub.events.hub import get_hub
from taskhub.lib.cancellation import cancel_all
from taskhub.observability.log_context import task_for_all

log = logging.getLogger(__name__)

CONNECT_S: Final = 10
_EVENTS: Final = ("sandbox.state.updated", "sandbox.desired-state.updated")


class PushListener:
    """Connected while it is wanted; reconnects with back-off."""

    def __init__(self, *, is_watched: Callable[[str], bool]) -> None:
        self._is_watched = is_watched
        self._task: asyncio.Task[None] | None = None
        self.connected = False

    def keep(self, *, wanted: bool) -> None:
        """Connect if wanted, disconnect otherwise."""
        if wanted and self._task is None and settings.DAYTONA_API_KEY:
            self._task = task_for_all(self._listen(), name="daytona-push")
        elif not wanted and self._task is not None:
            self._task.cancel()
            self._task = None

    async def close(self) -> None:
        if self._task is not None:
            await cancel_all(self._task)

    async def _listen(self) -> None:
        backoff = Backoff(first_s=1.0, most_s=60.0)
        # With aiohttp below it, it takes a tenth of a second to load, and some MiB: not before a sandbox is watched.
        socketio: Any = await asyncio.to_thread(importlib.import_module, "socketio")
        while True:
            client = socketio.AsyncClient(reconnection=False, logger=False, engineio_logger=False)
            for name in _EVENTS:
                client.on(name, self._take)
            try:
                await self._connect(client)
                self.connected = True
                backoff.reset()
                await client.wait()
            except (socketio.exceptions.SocketIOError, OSError, TimeoutError) as error:
                log.info(
                    "the connection to Daytona's push gateway failed (%s); polling continues", type(error).__name__
                )
            finally:
                self.connected = False
                with suppress(socketio.exceptions.SocketIOError, OSError):
                    await client.disconnect()
            await asyncio.sleep(backoff.next_s())

    @staticmethod
    async def _connect(client: Any) -> None:
        address = urlsplit(settings.DAYTONA_API_URL)
        async with asyncio.timeout(CONNECT_S):
            await client.connect(
                f"{address.scheme}://{address.netloc}",
                auth={"token": settings.DAYTONA_API_KEY},
                transports=["websocket"],
                socketio_path=f"{address.path.rstrip('/')}/socket.io",
                wait_timeout=CONNECT_S,
            )

    async def _take(self, payload: Any) -> None:
        document = payload.get("sandbox") if isinstance(payload, dict) else None
        if not isinstance(document, dict) or not self._is_watched(str(document.get("id", ""))):
            return
        try:
            await get_hub().reader.run(_observe, document)
        except (DatabaseError, redis.RedisError) as error:
            log.info("a pushed change is not stored (%s); the next poll will", type(error).__name__)


def _observe(document: dict[str, Any]) -> None:
    sandboxes_observe(documents=[document], source="push")
