"""Many stream clients with automatic reconnect, as browsers have it, that keep what they saw."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp


class Watcher:
    """Follows one of the addresses; after a loss another one, from its last id."""

    def __init__(self, addresses: Sequence[str], first: int) -> None:
        self._addresses = addresses
        self._next = first
        self.last_id = ""
        self.seen: list[int] = []
        self.questions: list[int] = []
        self.resets = 0
        self.reconnects = -1
        self.grown = asyncio.Event()

    async def watch(self, session: aiohttp.ClientSession) -> None:
        while True:
            self.reconnects += 1
            address = self._addresses[self._next % len(self._addresses)]
            self._next += 1
            headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
            try:
                async with session.get(f"{address}/api/events/stream", headers=headers) as response:
                    if response.status == 200:
                        await self._read(response.content)
            except (aiohttp.ClientError, ConnectionError, TimeoutError):
                pass  # what a browser does: wait and come back
            await asyncio.sleep(random.uniform(0.05, 0.3))

    async def _read(self, content: aiohttp.StreamReader) -> None:
        event_id = ""
        async for raw in content:
            line = raw.decode().rstrip("\n")
            if line.startswith("id: "):
                event_id = line[4:]
            elif line.startswith("data: "):
                envelope = json.loads(line[6:])
                self._take(event_id, envelope["event"])
                if envelope["event"] == "note_added" and envelope["data"]["kind"] == "question":
                    self.questions.append(envelope["data"]["note_id"])

    def _take(self, event_id: str, event: str) -> None:
        if event == "stream-reset":
            self.resets += 1
        if event == "disconnected":
            return  # it carries no id, and is no event of the channel
        self.last_id = event_id
        if event != "connected":
            self.seen.append(int(event_id.partition(":")[2]))
            self.grown.set()

    async def until_seen(self, number: int) -> None:
        while not self.seen or self.seen[-1] < number:
            self.grown.clear()
            await self.grown.wait()

    async def until_connected(self) -> None:
        while not self.last_id:  # noqa: ASYNC110 - polled: no second signal beside the one under test
            await asyncio.sleep(0.02)


@asynccontextmanager
async def watching(addresses: list[str], clients: int) -> AsyncIterator[list[Watcher]]:
    """So many clients, spread over the addresses, all of them connected."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        watchers = [Watcher(addresses, first=n) for n in range(clients)]
        tasks = [asyncio.create_task(watcher.watch(session)) for watcher in watchers]
        try:
            async with asyncio.timeout(30):
                for watcher in watchers:
                    await watcher.until_connected()
            yield watchers
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
