"""uvicorn's command line with a server that rests: it looks once a second whether to end, not ten times.

A signal wakes it, so it ends as soon as uvicorn's own does.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
from contextlib import suppress
from types import FrameType
from typing import Any, Final

import uvicorn

from config.launcher.gate import wait_at_gate

TICK_S: Final = 1.0
"""The server's Date header is written anew as often."""


class RestingServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked = asyncio.Event()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._asked.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await asyncio.to_thread(wait_at_gate)
        await super().startup(sockets)

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):  # 0: also write the header
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._asked.wait()


def main() -> None:
    command_line: Any = importlib.import_module("uvicorn.main")  # `uvicorn.main` is a function of that name
    command_line.Server = RestingServer
    command_line.main()


if __name__ == "__main__":
    main()
