"""Direct delivery against delivery by `send`: the same events, byte for byte, under uvicorn's two protocols.

Each pair of clients asks for the same; one of them is served through a `send` of our own, behind which no transport is
found. What happens to a pair is drawn by chance: bursts, lost notifications, gaps, private tasks that change, clients
that stall, leave, or come back, repeats, keepalives, revocations and farewells.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import re
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import pytest
import uvicorn
import uvloop

from taskhub.events import feed as feed_module
from taskhub.events import live_groups, outbox
from taskhub.events.channel_reader import ChannelReader
from taskhub.events.feed import Feed
from taskhub.events.filters import Filters
from taskhub.events.open_streams import Slot, registry
from taskhub.events.outbox import Row
from taskhub.events.stream import EventStream, OpenStream
from taskhub.lib.cancellation import cancel_all
from taskhub.web import direct_transport
from taskhub.web.bounded_http import BoundedHttp

VIEWERS: Final = (None, None, "", "bob", "carol")
TASKS: Final = tuple(f"task-{number}" for number in range(6))
PEOPLE: Final = ("bob", "carol", "dave")
ANY: Final = re.compile(rb'"(?:id|timestamp)":"[^"]*"')
"""Of a `stream-reset`, which each stream makes for itself."""
END: Final = b"0\r\n\r\n"
PATIENCE_S: Final = 60.0
SOCKET_BYTES: Final = 16 * 1024
BUFFER_BYTES: Final = 4 * 1024
"""Of a transport: with those of the sockets it is full after a few events."""


class Table:
    """The outbox, in memory. It answers at once, so that all streams see what is read together at one moment."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.feed: Feed

    async def run(self, read: Callable[..., Any], *args: Any) -> Any:
        if read is outbox.read_heads:
            return {"tasks": self.rows[-1].seq if self.rows else 0}
        if read is outbox.read_after:
            return [row for row in self.rows if row.seq > args[1]][: args[2]]
        if read is outbox.read_exactly:
            return [row for row in self.rows if row.seq in args[1]]
        return self.feed.privacy if "privacy" in read.__name__ else {}


class Client:
    """One end of a stream: what came, as it came."""

    def __init__(self, name: str, cursor: int, filters: Filters, *, is_direct: bool) -> None:
        self.name, self.cursor, self.filters, self.is_direct = name, cursor, filters, is_direct
        self.slot: Slot = registry.admit(name)
        self.reader: ChannelReader
        self.raw = b""
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.is_closed = asyncio.Event()
        self.is_leaving = False
        self.socket = socket.socket()

    async def connect(self, port: int, version: str = "1.1") -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)
        self.socket.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self.socket, ("127.0.0.1", port))
        await loop.sock_sendall(self.socket, f"GET /{self.name} HTTP/{version}\r\nHost: a\r\n\r\n".encode())

    async def read(self) -> None:
        with suppress(ConnectionError, OSError):
            while True:
                await self.may_read.wait()
                data = await asyncio.get_running_loop().sock_recv(self.socket, 65536)
                if not data:
                    break
                self.raw += data
        self.is_closed.set()

    @property
    def body(self) -> bytes:
        """What came of the response's body, without the chunks; it must end with a whole one, or be complete."""
        head, _, rest = self.raw.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        body = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            if len(rest) < length + 2:
                return body + rest  # the connection was cut
            assert rest[length : length + 2] == b"\r\n"
            body += rest[:length]
            rest = rest[length + 2 :]
        return body

    @property
    def is_at_end(self) -> bool:
        return self.is_closed.is_set() or self.raw.endswith(END)

    def leave(self) -> None:
        self.is_leaving = True
        self.socket.shutdown(socket.SHUT_WR)

    def end(self, act: Callable[[OpenStream], None]) -> None:
        if self.slot.stream is not None:
            self.is_leaving = True
            act(self.slot.stream)

    @property
    def has_everything(self) -> bool:
        """Or is at its end, or does not read."""
        stream = self.slot.stream
        if self.is_at_end or not self.may_read.is_set():
            return True
        if self.is_leaving or stream is None or (stream._keepalive is not None and not stream._keepalive.done()):
            return False
        return self.reader.cursor == self.reader._feed.head and not self.reader.repeats


class World:
    """A server, its feed, and the clients in pairs: the first of each is served directly."""

    def __init__(self) -> None:
        self.table = Table()
        self.feed = Feed("tasks", self.table)  # type: ignore[arg-type]  # it needs no thread
        self.table.feed = self.feed
        self.feed.head = 0
        self.clients: dict[str, Client] = {}
        self.pairs: list[tuple[Client, Client]] = []
        self.port = 0
        self._reading: list[asyncio.Task[None]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        client = self.clients[scope["path"][1:]]

        async def plain(message: Any) -> None:
            await send(message)

        send.__self__.transport.set_write_buffer_limits(BUFFER_BYTES)
        client.reader = ChannelReader(self.feed, client.cursor, client.filters, client.slot.repeats)
        response = EventStream(
            client.reader,
            slot=client.slot,
            channel="tasks",
            greeting=b"data: hello\n\n",
            farewell=lambda reason, _: f"data: goodbye, {reason}\n\n".encode(),
        )
        await response.sending(receive, send if client.is_direct else plain)

    async def open(self, cursor: int, filters: Filters, **version: str) -> tuple[Client, Client]:
        number = len(self.clients)
        direct = await self.open_one(f"{number}-direct", cursor, filters, is_direct=True, **version)
        plain = await self.open_one(f"{number}-plain", cursor, filters, is_direct=False, **version)
        self.pairs.append((direct, plain))
        return direct, plain

    async def open_one(self, name: str, cursor: int, filters: Filters, *, is_direct: bool, **version: str) -> Client:
        client = self.clients[name] = Client(name, cursor, filters, is_direct=is_direct)
        await client.connect(self.port, **version)
        self._reading.append(asyncio.create_task(client.read()))
        return client

    async def close(self) -> None:
        # uvloop keeps a socket open for as long as a task reads from it.
        await cancel_all(*self._reading)
        for client in self.clients.values():
            client.socket.close()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 - many streams, none of which tells when it is done
                await asyncio.sleep(0)

    async def settle(self) -> None:
        """All that read have everything."""
        for client in self.clients.values():
            await self.until(lambda each=client: each.has_everything)

    def publish(self, event_type: str, data: str, *, is_told: bool = True) -> None:
        seq = self.table.rows[-1].seq + 1 if self.table.rows else 1
        self.table.rows.append(Row(seq, event_type, data))
        if is_told:
            self.feed.take(seq, event_type, data)


@asynccontextmanager
async def serving(protocol: Any) -> AsyncIterator[World]:
    world = World()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        world.port = listener.getsockname()[1]
        config = uvicorn.Config(world, http=protocol, lifespan="off", log_level="critical")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield world
        finally:
            await world.close()
            server.should_exit = True
            await task


SERVERS = {
    "httptools": (BoundedHttp, uvloop.new_event_loop),
    "h11": ("h11", asyncio.new_event_loop),
}


@pytest.fixture(params=list(SERVERS))
def serve(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Runs a scenario on a loop of its own, with a short ring and short slices."""
    protocol, loop_factory = SERVERS[request.param]
    monkeypatch.setattr(feed_module, "RING_FRAMES", 60)
    monkeypatch.setattr(live_groups, "SLICE", 3)

    async def within(scenario: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        async with serving(protocol) as world:
            await scenario(world)

    def run(scenario: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(within(scenario))

    return run


class Chance:
    """Draws what happens next."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.draw = random.Random(seed)
        self.private: dict[str, bool] = dict.fromkeys(TASKS, False)
        self.assignee: dict[str, str] = dict.fromkeys(TASKS, "bob")

    def filters(self) -> Filters:
        types = self.draw.choice(
            (frozenset(), frozenset({"task_updated"}), frozenset({"task_created", "task_deleted"}))
        )
        task_id = self.draw.choice(("", "", "", *TASKS[:2]))
        assignee = self.draw.choice(("", "", "", "bob"))
        return Filters(types, task_id, assignee, self.draw.choice(VIEWERS))

    def event(self) -> tuple[str, str]:
        task_id = self.draw.choice(TASKS)
        if self.draw.random() < 0.1:
            return self.draw.choice((("greeting", "two\nlines"), ("message", '"text"'), ("message", "[1]")))
        was_private, was_assignee = self.private[task_id], self.assignee[task_id]
        if self.draw.random() < 0.3:
            self.private[task_id] = not was_private
        if self.draw.random() < 0.3:
            self.assignee[task_id] = self.draw.choice(PEOPLE)
        data = {
            "task_id": task_id,
            "assignee": self.assignee[task_id],
            "private": self.private[task_id],
            "previous": {"private": was_private, "assignee": was_assignee},
            "description": "\u2028" + "x" * self.draw.choice((0, 10, 10, 500, 9000)),
        }
        name = self.draw.choice(("task_updated", "task_updated", "task_created", "task_deleted"))
        return "message", json.dumps({"id": "1", "event": name, "data": data, "timestamp": ""})

    async def burst(self) -> None:
        for _ in range(self.draw.choice((1, 1, 1, 2, 5, 30))):
            self.world.publish(*self.event())

    async def lost_notifications(self) -> None:
        for _ in range(self.draw.randint(1, 40)):
            self.world.publish(*self.event(), is_told=False)
        await self.world.feed.catch_up(self.world.table.rows[-1].seq)

    async def gap(self) -> None:
        """Events that expired before this process had read them. Not while a client stalls: what it loses is chance."""
        if all(client.may_read.is_set() for pair in self.world.pairs for client in pair):
            for _ in range(3):
                self.world.publish(*self.event(), is_told=False)
            del self.world.table.rows[-3:-1]
            await self.world.feed.catch_up(self.world.table.rows[-1].seq)

    async def arrival(self) -> None:
        head = self.world.feed.head
        await self.world.open(self.draw.choice((head, head, max(0, head - 5), head // 2, head + 5)), self.filters())
        await self.world.settle()

    def _open(self) -> list[tuple[Client, Client]]:
        return [pair for pair in self.world.pairs if not any(client.is_at_end for client in pair)]

    async def each(self, act: Callable[[Client], object], probability: float = 0.3, *, stalled: bool = False) -> None:
        """What is said to a client that does not read depends on how far the kernel's buffers have filled."""
        for pair in self._open():
            if self.draw.random() < probability and (stalled or pair[0].may_read.is_set()):
                for client in pair:
                    act(client)

    async def leaving(self) -> None:
        await self.each(Client.leave, 0.1)

    async def revocation(self) -> None:
        await self.each(lambda client: client.end(OpenStream.revoke), 0.1)

    async def farewell(self) -> None:
        await self.each(lambda client: client.end(lambda stream: stream.end("ended_by_operator", 1)), 0.1)

    async def repeats(self) -> None:
        numbers = [self.draw.randint(1, max(1, self.world.feed.head)) for _ in range(3)]
        await self.each(lambda client: self.world.feed.repeat(client.slot.repeats, numbers))

    async def half_a_minute(self) -> None:
        def pass_by(client: Client) -> None:
            stream = client.slot.stream
            if stream is not None and stream.sending_since is None:
                registry._look_at(stream, stream.next_keepalive)

        await self.each(pass_by)

    async def stall(self) -> None:
        """Only of those who see every task: what others see of a change depends on when they see it."""
        for pair in self._open():
            if pair[0].filters.viewer is None and self.draw.random() < 0.3:
                for client in pair:
                    client.may_read.clear()

    async def recovery(self) -> None:
        await self.each(lambda client: client.may_read.set(), 0.5, stalled=True)

    async def step(self) -> None:
        rare = (self.lost_notifications, self.gap, self.arrival, self.leaving, self.revocation, self.farewell)
        rare += (self.repeats, self.half_a_minute, self.stall, self.recovery)
        await (self.burst() if self.draw.random() < 0.5 else self.draw.choice(rare)())
        await self.world.settle()


@pytest.mark.parametrize("seed", range(int(os.environ.get("TASKHUB_TEST_SEEDS", "4"))))
def test_direct_delivery_sends_what_send_does(serve: Callable[[Any], None], seed: int) -> None:
    async def scenario(world: World) -> None:
        chance = Chance(world, seed)
        for _ in range(8):
            await chance.arrival()
        for _ in range(60):
            await chance.step()
        everyone = list(world.clients.values())
        for client in everyone:
            client.may_read.set()
        await world.settle()
        assert {client.is_direct for client in everyone if client.reader.is_live} == {True}
        for client in everyone:
            client.end(lambda stream: stream.end("shutdown", 1))
        await world.settle()
        assert not len(world.feed.live)
        for direct, plain in world.pairs:
            assert ANY.sub(b"", direct.body) == ANY.sub(b"", plain.body), direct.filters

    serve(scenario)


def event(task_id: str = "t", text: str = "", **more: object) -> str:
    data = {"task_id": task_id, "assignee": "bob", "title": text, **more}
    return json.dumps({"id": "1", "event": "task_updated", "data": data, "timestamp": ""})


def test_live_streams_have_no_task_but_the_servers_and_none_is_woken(
    serve: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(world: World) -> None:
        clients = [await world.open_one(f"{number}", 0, Filters(), is_direct=True) for number in range(5)]
        await world.settle()
        await world.until(lambda: len(world.feed.live) == 5)
        tasks = asyncio.all_tasks()
        sent = []
        monkeypatch.setattr(OpenStream, "send", lambda *_: sent.append(1))
        world.publish("message", event(text="new"))
        await world.until(lambda: all(b'"new"' in client.raw for client in clients))
        assert not sent
        assert asyncio.all_tasks() == tasks
        monkeypatch.undo()

    serve(scenario)


def test_an_event_is_encoded_once_for_all_who_may_see_it(
    serve: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[Filters] = []
    encode = live_groups._encode

    def counted(frames: Any, filters: Filters, privacy: Any) -> Any:
        encoded.append(filters)
        return encode(frames, filters, privacy)

    async def scenario(world: World) -> None:
        monkeypatch.setattr(live_groups, "SLICE", 100)
        monkeypatch.setattr(live_groups, "_encode", counted)
        for viewer in (None, None, "", "bob", "carol"):
            await world.open(0, Filters(viewer=viewer))
        await world.settle()
        world.publish("message", event())
        await world.settle()
        assert [filters.viewer for filters in encoded] == [None]
        world.publish("message", event(private=True, previous={"private": False}))
        await world.settle()
        assert [filters.viewer for filters in encoded[1:]] == [None, "", "bob", "carol"]

    serve(scenario)


def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events each write from now on has."""
    writes: list[int] = []
    write = direct_transport.DirectTransport.write

    def counted(transport: Any, chunk: bytes) -> bool:
        writes.append(chunk.count(b"data: "))
        return write(transport, chunk)

    monkeypatch.setattr(direct_transport.DirectTransport, "write", counted)
    return writes


def test_events_that_come_together_are_one_write(serve: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(world: World) -> None:
        for _ in range(7):
            await world.open(0, Filters())
        await world.settle()
        writes = written(monkeypatch)
        for _ in range(50):
            world.publish("message", event())
        await world.settle()
        assert writes == [50] * 7

    serve(scenario)


def test_between_two_passes_there_is_a_rest_and_what_comes_meanwhile_is_one_write(
    serve: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(world: World) -> None:
        direct = await world.open_one("one", 0, Filters(), is_direct=True)
        await world.settle()
        writes = written(monkeypatch)
        monkeypatch.setattr(live_groups, "LEAST_REST_S", 1.0)
        monkeypatch.setattr(live_groups, "MOST_REST_S", 1.0)
        world.publish("message", event(text="first"))
        await world.until(lambda: b'"first"' in direct.raw)
        for number in range(10):
            world.publish("message", event(text=f"then {number}"))
            await asyncio.sleep(0)
        await world.until(lambda: b'"then 9"' in direct.raw)
        assert writes == [1, 10]

    serve(scenario)


def test_streams_go_on_alone_where_their_group_cannot_be_served(
    serve: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("of the test")

    async def scenario(world: World) -> None:
        direct, _ = await world.open(0, Filters())
        await world.until(lambda: len(world.feed.live) == 1)
        with monkeypatch.context() as broken:
            broken.setattr(live_groups, "_encode", fail)
            world.publish("message", event(text="first"))
            await world.until(lambda: b'"first"' in direct.raw)
        await world.until(lambda: len(world.feed.live) == 1)
        world.publish("message", event(text="second"))
        await world.settle()
        await world.until(lambda: b'"second"' in direct.raw)
        assert direct.raw.count(b'"first"') == 1

    serve(scenario)
    assert "go on one by one" in caplog.text


def test_a_client_of_http_1_0_is_served_by_send(serve: Callable[[Any], None]) -> None:
    async def scenario(world: World) -> None:
        direct, plain = await world.open(0, Filters(), version="1.0")
        await world.settle()
        world.publish("message", event(text="new"))
        await world.until(lambda: b'"new"' in direct.raw and b'"new"' in plain.raw)
        assert not len(world.feed.live)

    serve(scenario)


def test_closed_streams_leave_nothing_for_the_garbage_collector(serve: Callable[[Any], None]) -> None:
    """On that stands the freezing of open streams (`taskhub/lib/garbage.py`)."""

    async def scenario(world: World) -> None:
        for number in range(6):
            await world.open(0, Filters())
            if not number:  # what is made once, and what came before
                gc.collect()
                gc.disable()
        await world.settle()
        for number, client in enumerate(list(world.clients.values())):
            client.end(lambda stream: stream.end("shutdown", 1)) if number % 3 else client.leave()
        await world.settle()
        ours = (OpenStream, ChannelReader, EventStream, Slot, direct_transport.DirectTransport)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        gc.set_debug(0)
        found = [type(each).__name__ for each in gc.garbage if isinstance(each, ours)]
        gc.garbage.clear()
        assert found == []

    try:
        serve(scenario)
    finally:
        gc.enable()
