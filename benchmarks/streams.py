"""The readers: many streams in a few processes, on raw sockets and epoll, looking at no more bytes than they must.

A frame counts when its closing blank line has come. Of each frame only the `id:` line is read, or what a server has in
its place: its number must be one more than the number before. Anything else is a fault: a gap, a repetition, a reset,
a closed connection.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import re
import select
import socket
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Final, Self

from benchmarks.servers import HOST

ID_LINE: Final = rb"\nid: (?:[\w.-]+:)?(\d+)\n"
_TIMESTAMP: Final = re.compile(rb'"timestamp":"([^"]+)"')
_READ_BYTES: Final = 256 * 1024
_FAULTS_KEPT: Final = 5


class LostEventsError(AssertionError):
    """A stream did not get every event once and in order, or not in time."""


@dataclass(frozen=True)
class Plan:
    """What each process opens and expects.

    `first` is the number that the first event follows, `events` how many each stream must get, `greeting` the bytes of
    the frame that says that a stream is open, which ends with `greeted`, `number` the pattern of an event's number,
    `window` how many may be opening at a time, `record` whether the time of each receipt is wanted.
    """

    port: int
    path: str
    headers: dict[str, str]
    streams: int
    first: int
    events: int
    greeting: bytes = b'"connected"'
    greeted: bytes = b"\n\n"
    number: bytes = ID_LINE
    window: int = 32
    record: bool = False

    def request(self) -> bytes:
        lines = [f"GET {self.path} HTTP/1.1", f"Host: {HOST}:{self.port}", "Accept: text/event-stream"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()


@dataclass
class Outcome:
    """What the streams got. `times` holds, per stream, the time of each receipt (seconds, `time.time()`)."""

    received: int = 0
    fault_count: int = 0
    faults: list[str] = field(default_factory=list)
    times: list[array[float]] = field(default_factory=list)
    timestamps: list[str] = field(default_factory=list)
    """The envelopes' own timestamps, as one of the streams saw them."""

    def add(self, other: Outcome) -> None:
        self.received += other.received
        self.fault_count += other.fault_count
        self.faults += other.faults
        self.times += other.times
        self.timestamps = self.timestamps or other.timestamps


class Fleet:
    """Streams spread over processes. `open`, `wait`, `collect`, in this order; every wait is bounded."""

    def __init__(self, plan: Plan, *, processes: int = 2, faults_allowed: bool = False) -> None:
        """`faults_allowed`: count what is lost or repeated instead of raising; for peers that do so."""
        self._faults_allowed = faults_allowed
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        processes = min(processes, plan.streams)
        for part in range(processes):
            share = plan.streams // processes + (part < plan.streams % processes)
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(replace(plan, streams=share), theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        self._hear("ready", 60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(5)
            process.kill()
            process.join(5)

    def open(self, within_s: float) -> float:
        """Open all streams; seconds until the last one was open."""
        began = time.time()
        self._tell("open")
        return float(max(self._hear("open", within_s))) - began

    def wait(self, within_s: float) -> float:
        """When (`time.time()`) the last stream had all of its events."""
        return float(max(self._hear("done", within_s)))

    def collect(self) -> Outcome:
        """What came; call it a moment after `wait`, so that an event too many is seen."""
        self._tell("collect")
        outcome = Outcome()
        for part in self._hear("outcome", 30):
            outcome.add(part)
        if outcome.fault_count and not self._faults_allowed:
            raise LostEventsError(f"{outcome.fault_count} faults: {'; '.join(outcome.faults)}")
        return outcome

    def _tell(self, word: str) -> None:
        for pipe in self._pipes:
            pipe.send(word)

    def _hear(self, word: str, within_s: float) -> list[Any]:
        """What each process says with `word`."""
        until = time.monotonic() + within_s
        heard: dict[Connection, Any] = {}
        while len(heard) < len(self._pipes):
            pipes = [pipe for pipe in self._pipes if pipe not in heard]
            ready = wait(pipes, max(0.0, until - time.monotonic()))
            if not ready:
                raise LostEventsError(f"{word!r} not within {within_s:.0f} s")
            for pipe in ready:
                assert isinstance(pipe, Connection)
                said, value = pipe.recv()
                if said == word:
                    heard[pipe] = value
                elif said == "fault" and not self._faults_allowed:
                    raise LostEventsError(str(value))
        return list(heard.values())


class _Stream:
    __slots__ = ("done", "is_open", "last", "socket", "tail", "times")

    def __init__(self, connection: socket.socket, last: int) -> None:
        self.socket = connection
        self.last = last
        self.tail = b""
        self.is_open = False
        self.done = False
        self.times: array[float] = array("d")


class _Worker:
    """The streams of one process."""

    def __init__(self, plan: Plan, pipe: Connection) -> None:
        self._plan = plan
        self._number = re.compile(plan.number)
        self._pipe = pipe
        self._poll = select.epoll()
        self._poll.register(pipe.fileno(), select.EPOLLIN)
        self._streams: dict[int, _Stream] = {}
        self._open = 0
        self._done = 0
        self._told_to_open = False
        self._outcome = Outcome()

    def run(self) -> None:
        """Until the other end of the pipe is closed: raises EOFError or BrokenPipeError then."""
        self._pipe.send(("ready", None))
        hear: dict[str, Callable[[], None]] = {"open": self._begin, "collect": self._report}
        while True:
            for fd, _ in self._poll.poll(60):
                if fd != self._pipe.fileno():
                    self._read(fd)
                    continue
                hear[self._pipe.recv()]()
            if self._told_to_open:
                self._connect()

    def _begin(self) -> None:
        self._told_to_open = True

    def _connect(self) -> None:
        """As many as are wanted and the window lets through."""
        request = self._plan.request()
        while len(self._streams) < min(self._plan.streams, self._open + self._plan.window):
            connection = socket.create_connection((HOST, self._plan.port), timeout=30)
            connection.sendall(request)
            connection.setblocking(False)
            self._streams[connection.fileno()] = _Stream(connection, self._plan.first)
            self._poll.register(connection.fileno(), select.EPOLLIN)

    def _read(self, fd: int) -> None:
        stream = self._streams[fd]
        try:
            data = stream.socket.recv(_READ_BYTES)
        except ConnectionError:
            data = b""
        now = time.time()
        if not data:
            self._poll.unregister(fd)
            self._fault(f"a stream was closed after {stream.last}: {stream.tail[-300:]!r}")
            return
        text = stream.tail + data
        if not stream.is_open:
            text = self._take_greeting(stream, text)
        if stream.is_open:
            self._take(stream, text, now)

    def _take_greeting(self, stream: _Stream, text: bytes) -> bytes:
        """What follows the greeting, once that is complete."""
        found = text.find(self._plan.greeting)
        end = text.find(self._plan.greeted, found) + 1 if found >= 0 else 0
        if not end:
            stream.tail = text
            if not text.startswith(b"HTTP/1.1 200 "[: len(text)]):
                self._fault(f"not a stream: {text[:300]!r}")
            return b""
        for number in self._number.findall(text, 0, end):
            if int(number) != self._plan.first:
                self._fault(f"greeted with {int(number)} instead of {self._plan.first}")
        stream.is_open = True
        self._open += 1
        if self._open == self._plan.streams:
            self._pipe.send(("open", time.time()))
        return text[end:]

    def _take(self, stream: _Stream, text: bytes, now: float) -> None:
        # The second newline of the blank line stays: the next `id:` line is then never the first of its text.
        end = text.rfind(b"\n\n") + 1
        stream.tail = text[end:]
        if not end:
            return
        if b"stream-reset" in text:
            self._fault(f"a stream was reset after {stream.last}")
        numbers = self._number.findall(text, 0, end)
        for number in map(int, numbers):
            if number != stream.last + 1:
                self._fault(f"{number} came after {stream.last}")
            stream.last = number
        self._outcome.received += len(numbers)
        if self._plan.record:
            self._record(stream, len(numbers), text[:end], now)
        if not stream.done and stream.last >= self._plan.first + self._plan.events:
            self._finish(stream, now)

    def _record(self, stream: _Stream, events: int, text: bytes, now: float) -> None:
        stream.times.extend([now] * events)
        if stream.socket.fileno() == next(iter(self._streams)):
            self._outcome.timestamps += [found.decode() for found in _TIMESTAMP.findall(text)]

    def _finish(self, stream: _Stream, now: float) -> None:
        stream.done = True
        self._done += 1
        if self._done == self._plan.streams:
            self._pipe.send(("done", now))

    def _fault(self, words: str) -> None:
        self._outcome.fault_count += 1
        if len(self._outcome.faults) < _FAULTS_KEPT:
            self._outcome.faults.append(words)
            self._pipe.send(("fault", words))

    def _report(self) -> None:
        if self._plan.record:
            self._outcome.times = [stream.times for stream in self._streams.values()]
        expected = self._plan.streams * self._plan.events
        if self._outcome.received != expected:
            self._fault(f"{self._outcome.received} events came instead of {expected}")
        self._pipe.send(("outcome", self._outcome))


def _serve(plan: Plan, pipe: Connection) -> None:
    # The other end hangs up when it has heard enough, or has failed.
    with contextlib.suppress(EOFError, ConnectionError):
        _Worker(plan, pipe).run()
