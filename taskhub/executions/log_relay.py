"""Logs that are being written, read once for all who watch them in this process.

The first viewer of a log opens its source, the last one closes it (a little later, for those who come right back).
What comes is encoded once, as the bytes of its SSE frames, into a file that has no name: a viewer is a position in
that file. So a late one gets the whole log as fast as its connection takes it, a slow one slows no other, and neither
costs memory. A line's position is its number, which is the same in every reading of the log, here and elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, NamedTuple

from taskhub.events.wire_json import dumps
from taskhub.executions.executor import ExecutorError, LogLine
from taskhub.executions.log_archive import limit_mark
from taskhub.executions.shared_log import (
    DATA,
    ID,
    LogEnd,
    LogTooLong,
    SharedLog,
    Trouble,
    encode_frame,
    encode_partial,
    last_number,
)
from taskhub.lib.cancellation import cancel_all
from taskhub.lib.per_loop import PerLoop
from taskhub.lib.timestamps import iso
from taskhub.observability.log_context import task_for_all

log = logging.getLogger(__name__)

LINGER_S: Final = 15.0


class LogKey(NamedTuple):
    """Whose log: a command in a session of a sandbox."""

    sandbox_id: str
    session_name: str
    command_id: str


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
            until = shared.size if not self._limited or shared.limit is None else shared.limit.offset
            if offset is not None and offset < until:
                chunk = shared.read(offset, until)
                offset += len(chunk)
                self.after = last_number(chunk)
                yield self._addressed(chunk)
            elif self._limited and shared.limit is not None:
                if self.after < shared.limit.n:
                    self.after = shared.limit.n
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
        frames = frames.replace(ID, ID + self._prefix)
        return frames.replace(DATA, DATA + self._fields) if self._fields else frames

    def _news(self, *, at_end: bool) -> Trouble | bytes | None:
        """What was not told yet beside the lines: a trouble; for an execution, its unfinished lines."""
        shared = self._log
        if self._troubles != shared.troubles:
            self._troubles = shared.troubles
            if shared.trouble is not None:
                return shared.trouble
        if at_end and self._limited and shared.end is None and self._partial != shared.partial:
            self._partial = shared.partial
            return self._addressed(b"".join([encode_partial(line) for line in self._partial])) or None
        return None

    def _mark(self, n: int) -> bytes:
        mark = limit_mark(n)
        return self._addressed(encode_frame(mark, iso(mark.timestamp)))


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
