"""Whether a sandbox server with a limit was full, and never more than that."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus

import aiohttp

from tests.soak.whole import KEY, Whole

EVERY_S = 1.0
COMPUTING = frozenset({"creating", "starting", "started", "stopping"})


class Room:
    def __init__(self, whole: Whole) -> None:
        self._whole = whole
        self._most = 0
        self._waited: set[str] = set()

    async def watch(self) -> None:
        """Until it is cancelled."""
        async with aiohttp.ClientSession() as session:
            while True:
                with suppress(aiohttp.ClientError, ConnectionError, TimeoutError):  # a part may be away
                    await self._look(session)
                await asyncio.sleep(EVERY_S)

    async def _look(self, session: aiohttp.ClientSession) -> None:
        limits = aiohttp.ClientTimeout(total=10)
        theirs = {"Authorization": f"Bearer {KEY}"}
        address = f"{self._whole.sandboxes}/api/sandbox?limit=200"
        async with session.get(address, headers=theirs, timeout=limits) as response:
            items = (await response.json())["items"]
        self._most = max(self._most, sum(item["state"] in COMPUTING for item in items))
        address = f"{self._whole.addresses[0]}/api/executions/?status=queued"
        async with session.get(address, headers=self._whole.headers, timeout=limits) as response:
            rows = (await response.json())["results"] if response.status == HTTPStatus.OK else []
        waiting = {row["execution_id"]: row["waiting"] for row in rows if row["waiting"]}
        self._waited |= {name for name, how in waiting.items() if how["reason"] == "capacity"}

    def complaints(self) -> list[str]:
        limit = self._whole.limit_cpus
        if limit is None or self._most == limit:
            return []
        return [f"there were up to {self._most} started sandboxes, with room for {limit}"]

    def summary(self) -> str:
        if self._whole.limit_cpus is None:
            return f"at most {self._most} started sandboxes at a time, without a limit"
        return (
            f"at most {self._most} started sandboxes at a time, with room for {self._whole.limit_cpus}; "
            f"{len(self._waited)} executions were seen waiting for capacity"
        )
