"""Logs that are being written, read once for all who watch them in this process.

The first viewer of a log opens its source, the last one closes it (a little later, for those who come right back).
What comes is encoded once, as the bytes of its SSE frames, into a file that has no name: a viewer is a position in
that file. So a late one gets the whole log as fast as its connection takes it, a slow one slows no other, and neither
costs memory. A line's position is its number, which is the same in every reading of the log, here and elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import tempfile
import time
from array import array
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple

from django.conf import settings

from taskhub.events.wire_json import dumps
from taskhub.executions.executor import ExecutorError, LogLine
from taskhub.executions.log_archive import entry_bytes, limit_mark
from taskhub.lib.cancellation import cancel_all
from taskhub.lib.per_loop import PerLoop
from taskhub.lib.timestamps import iso
from taskhub.lib.wakeup import Wakeup
from taskhub.observability.log_context import task_for_all

log = logging.getLogger(__name__)

LINGER_S: Final = 15.0
CHUNK_BYTES: Final = 128 * 1024
_STRIDE: Final = 256
_FRAME_END: Final = b"\n\n"
_ID: Final = b"\nid: "
_DATA: Final = b"\ndata: {"


class LogKey(NamedTuple):
    """Whose log: a command in a session of a sandbox."""

    sandbox_id: str
    session_name: str
    command_id: str


class Trouble(NamedTuple):
    """The source does not answer, and is asked again at `retry_at` (`time.monotonic()`)."""

    error: ExecutorError
    retry_at: float

    @property
    def retry_s(self) -> float:
        return max(0.0, self.retry_at - time.monotonic())


@dataclass(frozen=True, slots=True)
class LogEnd:
    """The log is over: the command ended with `exit_code`, or `error` says why no more will come."""

    exit_code: int | None = None
    error: ExecutorError | None = None


class SharedLog:
    """One log in this process: what its source has brought so far."""

    def __init__(self) -> None:
        settings.TASKHUB_SPOOL_DIR.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = tempfile.TemporaryFile(dir=settings.TASKHUB_SPOOL_DIR, buffering=0)  # noqa: SIM115 - see close()
        # Where lines 1, 257, 513 … begin.
        self._index = array("Q")
        self._kept_bytes = 0
        self.limit: tuple[int, int] | None = None
        self.lines = 0
        self.size = 0
        self.end: LogEnd | None = None
        self.troubles = 0
        self._trouble: Trouble | None = None
        self.partial: tuple[LogLine, ...] = ()
        self.has_caught_up = False
        """Whether a reader has waited until the log paused: from then on what is here is what there is."""
        self.moved = Wakeup()

    def append(self, lines: Sequence[LogLine]) -> None:
        """Take the next lines. Raises LogTooLong beyond `TASKHUB_LOG_SPOOL_BYTES`."""
        frames: list[bytes] = []
        starts = array("Q")
        size = self.size
        stamp, stamped = "", None
        for line in lines:
            if not (self.lines + len(frames)) % _STRIDE:
                starts.append(size)
            if line.timestamp is not stamped:
                stamp, stamped = iso(line.timestamp), line.timestamp
            frame = _encode(line, stamp)
            frames.append(frame)
            size += len(frame)
        if size > settings.TASKHUB_LOG_SPOOL_BYTES:
            raise LogTooLong
        rest = memoryview(b"".join(frames))
        while rest:
            rest = rest[self._file.write(rest) :]
        # Only now: a line counts when it can be read.
        if self.limit is None:
            self._look_for_limit(lines, frames)
        self.partial = ()
        self._index.extend(starts)
        self.lines += len(frames)
        self.size = size
        self.moved.send()

    def show_partial(self, lines: tuple[LogLine, ...]) -> None:
        """The unfinished lines at the end, in the place of the former ones."""
        self.partial = lines
        self.moved.send()

    def _look_for_limit(self, lines: Sequence[LogLine], frames: Sequence[bytes]) -> None:
        """Notice where an execution's archive will cut the log."""
        offset = self.size
        for line, frame in zip(lines, frames, strict=True):
            self._kept_bytes += entry_bytes(line)
            if self._kept_bytes > settings.TASKHUB_LOG_LIMIT_BYTES:
                self.limit = (line.n, offset)
                return
            offset += len(frame)

    def report_trouble(self, error: ExecutorError, retry_s: float) -> None:
        """The source is cut off; viewers are told, and wait."""
        self._trouble = Trouble(error, time.monotonic() + retry_s)
        self.troubles += 1
        self.moved.send()

    @property
    def trouble(self) -> Trouble | None:
        """The one that there is right now."""
        return self._trouble if self._trouble is not None and self._trouble.retry_s else None

    def finish(self, end: LogEnd) -> None:
        self.end = end
        self.moved.send()

    def read(self, offset: int, until: int) -> bytes:
        """Whole frames from `offset` on, about `CHUNK_BYTES` of them, none beyond `until`."""
        length = CHUNK_BYTES
        while True:
            chunk = os.pread(self._file.fileno(), min(length, until - offset), offset)
            if offset + len(chunk) >= until:
                return chunk
            end = chunk.rfind(_FRAME_END)
            if end >= 0:
                return chunk[: end + len(_FRAME_END)]
            length *= 4  # one frame longer than a chunk

    def offset_after(self, n: int) -> int:
        """Where the frame of line `n + 1` begins; `n` is at most `lines`."""
        if n >= self.lines:
            return self.size
        offset = self._index[n // _STRIDE]
        skip = n % _STRIDE
        while skip:
            chunk = self.read(offset, self.size)
            found = chunk.count(_FRAME_END)
            if found <= skip:
                skip -= found
                offset += len(chunk)
                continue
            position = 0
            for _ in range(skip):
                position = chunk.index(_FRAME_END, position) + len(_FRAME_END)
            return offset + position
        return offset

    def tail(self, count: int) -> list[LogLine]:
        """The last `count` lines that are here; no further than an execution's archive will go, with its mark."""
        last, until = (self.lines, self.size) if self.limit is None else (self.limit[0] - 1, self.limit[1])
        mark = [] if self.limit is None else [limit_mark(last + 1)]
        offset = self.offset_after(max(0, last - count + len(mark)))
        lines: list[LogLine] = []
        while offset < until:
            chunk = self.read(offset, until)
            offset += len(chunk)
            lines += [_decode(frame) for frame in chunk.split(_FRAME_END) if frame]
        return [*lines, *mark, *(self.partial if self.limit is None else ())][-count:]

    def close(self) -> None:
        self._file.close()


class LogTooLong(ExecutorError):
    def __init__(self) -> None:
        super().__init__("log_too_long", "The log is longer than this hub relays.", permanent=True)


def _encode(line: LogLine, stamp: str) -> bytes:
    """An SSE frame; whose log it is, is said when it is sent."""
    data = f'{{"stream":"{line.stream}","line":{dumps(line.line)},"n":{line.n},"timestamp":"{stamp}"}}'
    return f"event: log\nid: {line.n}\ndata: {data}\n\n".encode("utf-8", errors="replace")


def _encode_partial(line: LogLine) -> bytes:
    """Without an id: a client that comes back has not had the line yet."""
    data = f'{{"stream":"{line.stream}","line":{dumps(line.line)},"n":{line.n},"timestamp":"{iso(line.timestamp)}"'
    return f'event: log\ndata: {data},"partial":true}}\n\n'.encode("utf-8", errors="replace")


def _last_number(frames: bytes) -> int:
    start = frames.rindex(_ID) + len(_ID)
    return int(frames[start : frames.index(b"\n", start)])


def _decode(frame: bytes) -> LogLine:
    data = json.loads(frame[frame.index(b"\ndata: ") + len(b"\ndata: ") :])
    return LogLine(data["n"], data["stream"], data["line"], datetime.fromisoformat(data["timestamp"]))


class Viewer:
    """One who watches a log: `after` is the last line they have.

    `name` stands before the number in the SSE ids: whose log it is. `about` are the first fields of every line's data.
    `limited`: no further than an execution's archive will go, with its mark as the last line.
    """

    def __init__(
        self, shared: SharedLog, *, name: str, after: int, about: dict[str, str] | None = None, limited: bool = False
    ) -> None:
        self._log = shared
        self._prefix = f"{name}:".encode()
        self._fields = dumps(about)[1:-1].encode() + b"," if about else b""
        self._limited = limited
        self._partial: tuple[LogLine, ...] = ()
        # Who comes while the source is away hears of that, too.
        self._troubles = shared.troubles if shared.trouble is None else -1
        self.after = after

    async def items(self, *, idle_s: float | None = None) -> AsyncGenerator[bytes | Trouble | LogEnd, None]:
        """Frames as they come, troubles as they happen; `LogEnd` is the last one.

        Raises TimeoutError if nothing came for `idle_s` seconds.
        """
        shared = self._log
        offset: int | None = None
        while True:
            if offset is None and self.after <= shared.lines:
                offset = shared.offset_after(self.after)
            until = shared.size if not self._limited or shared.limit is None else shared.limit[1]
            if offset is not None and offset < until:
                chunk = shared.read(offset, until)
                offset += len(chunk)
                self.after = _last_number(chunk)
                yield self._addressed(chunk)
            elif self._limited and shared.limit is not None:
                if self.after < shared.limit[0]:
                    self.after = shared.limit[0]
                    yield self._mark(self.after)
                yield shared.end or LogEnd()
                return
            elif (news := self._news(at_end=offset is not None)) is not None:
                yield news
            elif shared.end is not None:
                yield shared.end
                return
            else:
                async with asyncio.timeout(idle_s):
                    await shared.moved.wait()

    def _addressed(self, frames: bytes) -> bytes:
        """The frames with what says whose log it is. No line can hold the marks: its line ends are escaped."""
        frames = frames.replace(_ID, _ID + self._prefix)
        return frames.replace(_DATA, _DATA + self._fields) if self._fields else frames

    def _news(self, *, at_end: bool) -> Trouble | bytes | None:
        """What was not told yet beside the lines: a trouble; for an execution, its unfinished lines."""
        shared = self._log
        if self._troubles != shared.troubles:
            self._troubles = shared.troubles
            if shared.trouble is not None:
                return shared.trouble
        if at_end and self._limited and shared.end is None and self._partial != shared.partial:
            self._partial = shared.partial
            return self._addressed(b"".join([_encode_partial(line) for line in self._partial])) or None
        return None

    def _mark(self, n: int) -> bytes:
        mark = limit_mark(n)
        return self._addressed(_encode(mark, iso(mark.timestamp)))


Read = Callable[[SharedLog], Awaitable[int | None]]
"""Reads a log from its source into a SharedLog; answers the command's exit code. Raises ExecutorError."""


class LogRelay:
    """The logs that are watched in this process. Belongs to one event loop."""

    def __init__(self) -> None:
        self._open: dict[LogKey, _Relayed] = {}
        self._kept: set[_Relayed] = set()

    @contextmanager
    def watch(self, key: LogKey, read: Read) -> Iterator[SharedLog]:
        """The log, which `read` reads unless it is being read already. Everybody who is inside shares it.

        A failed one is read anew for the next viewer; its present viewers keep what they have.
        """
        relayed = self._open.get(key)
        if relayed is None or relayed.has_failed:
            relayed = self._open[key] = _Relayed(read, on_close=partial(self._forget, key))
            self._kept.add(relayed)
        with relayed.watched() as shared:
            yield shared

    def _forget(self, key: LogKey, relayed: _Relayed) -> None:
        self._kept.discard(relayed)
        if self._open.get(key) is relayed:
            del self._open[key]

    def is_open(self, key: LogKey) -> bool:
        """Whether the log is already being read, or was read to its end, for a viewer."""
        relayed = self._open.get(key)
        return relayed is not None and not relayed.has_failed

    def __len__(self) -> int:
        return len(self._open)

    async def close(self) -> None:
        """The process ends."""
        for relayed in list(self._kept):
            await relayed.close()


class _Relayed:
    """A SharedLog with the task that fills it, and the count of those who watch."""

    def __init__(self, read: Read, on_close: Callable[[_Relayed], None]) -> None:
        self._shared = SharedLog()
        self._task = task_for_all(self._fill(read), name="log-relay")
        self._on_close = on_close
        self._viewers = 0
        self._linger: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def has_failed(self) -> bool:
        """Whether another reading may do better. A log that is too long stays so, and costs too much to find out."""
        error = self._shared.end.error if self._shared.end is not None else None
        return error is not None and not isinstance(error, LogTooLong)

    @contextmanager
    def watched(self) -> Iterator[SharedLog]:
        self._viewers += 1
        if self._linger is not None:
            self._linger.cancel()
        try:
            yield self._shared
        finally:
            self._viewers -= 1
            if not self._viewers:
                self._linger = asyncio.get_running_loop().call_later(LINGER_S, self._expire)

    def _expire(self) -> None:
        self._on_close(self)  # at once: who comes from now on opens the log anew
        self._closing = asyncio.create_task(self.close())

    async def close(self) -> None:
        self._on_close(self)
        if self._linger is not None:
            self._linger.cancel()
        await cancel_all(self._task)
        self._shared.close()

    async def _fill(self, read: Read) -> None:
        try:
            end = LogEnd(exit_code=await read(self._shared))
        except ExecutorError as error:
            end = LogEnd(error=error)
        except Exception:
            # The boundary of a relay, as a view is that of a request: viewers are told, the log has the cause.
            log.exception("a log cannot be relayed")
            end = LogEnd(error=ExecutorError("log_failed", "The log cannot be read now; try again.", permanent=False))
        self._shared.finish(end)


_relays: Final = PerLoop(LogRelay)


def get_relay() -> LogRelay:
    """The relay of the running event loop: one per process, for a server runs one loop."""
    return _relays.get()
