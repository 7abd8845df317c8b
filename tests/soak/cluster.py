"""PostgreSQL with a synchronous standby, behind one address: may be killed, restarted, and promoted."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import psycopg

from taskhub.lib.cancellation import cancel_all
from tests.postgres import Postgres
from tests.processes import free_port, wait_until


class Relay:
    """A port that leads to the present primary."""

    def __init__(self) -> None:
        self.port = free_port()
        self.target = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def close(self) -> None:
        self._server.close()
        self.cut()
        await cancel_all(*self._tasks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            theirs, to_them = await asyncio.open_connection("127.0.0.1", self.target)
            self._open |= {writer, to_them}
            await asyncio.gather(_copy(reader, to_them), _copy(theirs, writer))
            self._open -= {writer, to_them}
        writer.close()

    def cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


class Cluster:
    """`relay.port` is its address. Every commit is on the standby before it is answered."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        self._count = 0
        self.relay = Relay()
        self.primary = Postgres(binaries, self._new_folder())
        self.standby: Postgres | None = None

    def _new_folder(self) -> Path:
        self._count += 1
        folder = self._folder / f"node-{self._count}"
        folder.mkdir()
        return folder

    def start(self) -> None:
        self.primary.start()
        self.relay.target = self.primary.port
        self.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self._add_standby()
        self.execute("SELECT pg_reload_conf()")

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.primary.url, autocommit=True) as connection:
            found = connection.execute(statement)
            return found.fetchall() if found.description else []

    def _add_standby(self) -> None:
        standby = Postgres(self._binaries, self._new_folder(), standby_of=self.primary)
        standby.start("ready to accept read-only connections")
        streams = "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"
        wait_until(lambda: self.execute(streams) != [], "the standby follows")
        self.standby = standby

    def restart(self) -> None:
        """As after a crash of its machine."""
        self.primary.crash()
        self.primary.start()

    def promote(self) -> None:
        """The primary is gone for good; the standby takes its place, and gets one of its own."""
        gone, standby = self.primary, self.standby
        assert standby is not None
        gone.crash()
        self.primary, self.standby = standby, None
        self.execute("SELECT pg_promote()")
        self.relay.target = standby.port
        self.relay.cut()
        self._add_standby()

    def end(self) -> None:
        for node in (self.standby, self.primary):
            if node is not None:
                node.process.end()
