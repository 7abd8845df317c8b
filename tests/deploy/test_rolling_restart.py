"""Rolling restart of both web processes behind nginx, while clients watch and write: none sees an error."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import psycopg
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from tests.deploy.deployment import WEB, Deployment
from tests.deploy.shipped import NAME
from tests.processes import wait_until

pytestmark = pytest.mark.postgres

CLIENTS = 20
PAUSE_S = 0.02


class Client:
    """Follows the stream, and comes back at once with its last id after a `disconnected`; all else is a fault."""

    def __init__(self, address: str) -> None:
        self._address = f"{address}/api/events/stream"
        self.last_id = ""
        self.seen: list[int] = []
        self.farewells: list[str] = []
        self.faults: list[str] = []
        self.moved = asyncio.Event()
        self.stays_away = False

    async def watch(self, session: aiohttp.ClientSession) -> None:
        while not self.faults and not self.stays_away:
            headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
            try:
                async with session.get(self._address, headers=headers) as response:
                    if response.status != 200:
                        self._fail(f"{response.status}: {await response.text()}")
                    elif not await self._read(response.content):
                        self._fail("the stream ended without a goodbye")
            except (aiohttp.ClientError, OSError) as error:
                self._fail(repr(error))

    def _fail(self, fault: str) -> None:
        self.faults.append(fault)
        self.moved.set()

    async def _read(self, content: aiohttp.StreamReader) -> bool:
        """Whether the server said goodbye before the end."""
        event_id, farewell = "", False
        async for raw in content:
            field, _, value = raw.decode().rstrip("\n").partition(": ")
            if field == "id":
                event_id = value
            elif field == "data":
                farewell = self._take(event_id, json.loads(value))
                self.moved.set()
        return farewell

    def _take(self, event_id: str, envelope: dict[str, Any]) -> bool:
        if envelope["event"] == "disconnected":
            self.farewells.append(envelope["data"]["reason"])
            return True
        self.last_id = event_id
        if envelope["event"] == "stream-reset":
            self._fail("the stream was reset")
        elif envelope["event"] != "connected":
            self.seen.append(int(event_id.partition(":")[2]))
        return False

    async def until_connected(self) -> None:
        while not self.last_id and not self.faults:
            self.moved.clear()
            await self.moved.wait()

    async def until_seen(self, number: int) -> None:
        while not self.faults and (not self.seen or self.seen[-1] < number):
            self.moved.clear()
            await self.moved.wait()


class Writer:
    """Creates and changes tasks through nginx, none of it a second time."""

    def __init__(self, address: str) -> None:
        self._address = f"{address}/api/tasks/"
        self.writes = 0
        self.stops = False
        self.stopped = asyncio.Event()
        self.faults: list[str] = []

    async def write(self, session: aiohttp.ClientSession) -> None:
        while not self.stops:
            made = await self._send(session.post, self._address)
            if made:
                await self._send(session.patch, f"{self._address}{made['id']}/")
            await asyncio.sleep(PAUSE_S)
        self.stopped.set()

    async def _send(self, method: Any, address: str) -> dict[str, Any]:
        self.writes += 1
        try:
            async with method(address, json={"title": f"write {self.writes}"}) as response:
                if response.status in {200, 201}:
                    answer: dict[str, Any] = await response.json()
                    return answer
                self.faults.append(f"{response.status}: {await response.text()}")
        except (aiohttp.ClientError, OSError) as error:
            self.faults.append(repr(error))
        return {}


class _ToThisMachine(AbstractResolver):
    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """There is nothing to close."""


@asynccontextmanager
async def connected(hub: Deployment) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0, ssl=hub.nginx.trust, resolver=_ToThisMachine())
    timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=hub.headers) as session:
        yield session


async def all_reach(waits: Iterable[Coroutine[Any, Any, None]]) -> None:
    async with asyncio.timeout(60):
        await asyncio.gather(*waits)


async def test_a_rolling_restart_loses_nothing_and_shows_no_client_an_error(fresh_deployment: Deployment) -> None:
    hub = fresh_deployment
    address = f"https://{NAME}:{hub.nginx.https_port}"
    clients = [Client(address) for _ in range(CLIENTS)]
    writer = Writer(address)
    async with connected(hub) as session, asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(client.watch(session))
        await all_reach(client.until_connected() for client in clients)
        tasks.create_task(writer.write(session))
        for instance in ("1", "2"):
            before = writer.writes
            await asyncio.to_thread(hub.restart_web, instance)
            assert writer.writes > before
            now = _last(hub)
            await all_reach(client.until_seen(now) for client in clients)
        writer.stops = True
        await writer.stopped.wait()
        await asyncio.to_thread(wait_until, lambda: not _is_pending(hub), "all events have numbers")
        last = _last(hub)
        await all_reach(client.until_seen(last) for client in clients)
        farewells = [reason for client in clients for reason in client.farewells]
        # The hub ends the streams, so that no connection is left in the middle of one.
        for client in clients:
            client.stays_away = True
        for instance in ("1", "2"):
            await asyncio.to_thread(hub.stop_unit, WEB, instance)
    assert writer.faults == []
    assert [fault for client in clients for fault in client.faults] == []
    wanted = list(range(1, last + 1))
    assert len(wanted) == writer.writes
    wrong = [client.seen for client in clients if client.seen != wanted]
    assert not wrong, f"{len(wrong)} of {CLIENTS} clients, one of them: {wrong[0]}"
    # Each was told to come back at least once, when its process left; who then came to the other one, twice.
    assert set(farewells) == {"shutdown"}
    assert len(farewells) > CLIENTS


def _is_pending(hub: Deployment) -> bool:
    with psycopg.connect(hub.env["DATABASE_URL"]) as connection:
        return connection.execute("SELECT 1 FROM taskhub_pendingevent").fetchone() is not None


def _last(hub: Deployment) -> int:
    with psycopg.connect(hub.env["DATABASE_URL"]) as connection:
        row = connection.execute("SELECT value FROM django_eventstream_eventcounter WHERE name = 'tasks'").fetchone()
    assert row is not None
    return int(row[0])
