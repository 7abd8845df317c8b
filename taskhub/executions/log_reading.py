"""Windows of an execution's log: its end, lines from a number on, lines with a text; and its whole text.

A running log is what this process has read of it (`log_relay.py`), a finished one its archive. Both number lines alike
and have the same bytes, so a reader may go on in the archive where the running log ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import Final, NamedTuple

from taskhub.executions import log_archive
from taskhub.executions.executor import LogLine
from taskhub.executions.log_archive import TextBlock
from taskhub.executions.log_stream import shared_log
from taskhub.executions.log_text import searched
from taskhub.executions.shared_log import SharedLog
from taskhub.executions.text_window import last_bytes
from taskhub.lib.storage_threads import on_storage_thread
from taskhub.lib.text_folding import fold
from taskhub.models import Execution

ANSWER_CHARS: Final = 4 * 1024 * 1024
"""Characters of the lines of one answer; at least one line is in it."""
TAIL_LINES: Final = 20
TAIL_BYTES: Final = 4096
"""Of the end of a log, in UTF-8, in an answer or a note."""
SEARCH_CHARS: Final = 32 * 1024 * 1024
SEARCH_S: Final = 2.0
"""A search looks no further in one request, but through at least one block of lines."""


class Window(NamedTuple):
    """Lines of a log, and the number from which to go on; None where nothing follows."""

    lines: list[LogLine]
    next: int | None


async def log_tail(execution: Execution, count: int) -> Window:
    """The last `count` lines of a running or finished execution. Raises ExecutorError."""
    if not execution.is_active:
        return Window(await on_storage_thread(log_archive.tail, execution.log_file, count), None)
    if not execution.command_id:
        return Window([], 1)
    async with shared_log(execution) as shared:
        return Window(shared.tail(count), shared.kept_lines + 1)


def tail_text(lines: Iterable[LogLine]) -> str:
    """The text of last lines, at most `TAIL_BYTES` of it."""
    return last_bytes("\n".join(line.line for line in lines), TAIL_BYTES)


async def log_window(execution: Execution, *, first: int, limit: int, q: str = "") -> Window:
    """At most `limit` lines from number `first` on; with `q` those that have this text, ignoring case and accents.

    `next` comes sooner where the answer would be too large, or the search too long. Raises ExecutorError.
    """
    if not execution.is_active:
        return await on_storage_thread(_archived, execution.log_file, _Collector(first, limit, q))
    if not execution.command_id:
        return Window([], first)
    async with shared_log(execution) as shared:
        collector = _Collector(first, limit, q)
        for block in shared.blocks(after=first - 1):
            if collector.take(block):
                return Window(collector.lines, collector.next)
            await asyncio.sleep(0)  # others work on this loop
        unfinished = [] if q else [line for line in shared.shown_partial if line.n >= first]
        return Window(collector.lines + unfinished[: limit - len(collector.lines)], collector.next)


def _archived(name: str, collector: _Collector) -> Window:
    with log_archive.open_log(name) as log:
        if log is None:
            return Window([], None)
        for block in log.blocks(after=collector.next - 1):
            if collector.take(block):
                break
        return Window(collector.lines, collector.next if collector.next <= log.lines else None)


class _Collector:
    """Takes blocks of lines until there are enough. `next` is the first line that it has not looked at."""

    def __init__(self, first: int, limit: int, q: str) -> None:
        self.lines: list[LogLine] = []
        self.next = first
        self._limit = limit
        self._sought = fold(q)
        self._chars = 0
        self._searched = 0
        self._until = time.monotonic() + SEARCH_S

    def take(self, block: TextBlock) -> bool:
        """Whether that was enough."""
        if not self._sought or self._sought in searched(block.text):
            for line in block.lines():
                if line.n >= self.next and self._add(line):
                    return True
        self.next = max(self.next, block.first + block.number)
        self._searched += len(block.text)
        return bool(self._sought) and (self._searched >= SEARCH_CHARS or time.monotonic() >= self._until)

    def _add(self, line: LogLine) -> bool:
        self.next = line.n + 1
        if self._sought and self._sought not in searched(line.line):
            return False
        self.lines.append(line)
        self._chars += len(line.line)
        return len(self.lines) >= self._limit or self._chars >= ANSWER_CHARS


# --- The whole text ---------------------------------------------------------------------------------


def archived_size(execution: Execution) -> int:
    """Bytes of the text of a finished execution's log. It blocks."""
    with log_archive.open_log(execution.log_file) as log:
        return log.size if log is not None else 0


def archived_text(execution: Execution, start: int, end: int) -> Iterator[bytes]:
    """These bytes of it, in chunks. It blocks."""
    with log_archive.open_log(execution.log_file) as log:
        if log is not None:
            yield from log.text(start, end)


async def running_size(execution: Execution) -> int:
    """Bytes of the text that there is of a running execution's log. Raises ExecutorError."""
    if not execution.command_id:
        return 0
    async with shared_log(execution) as shared:
        return shared.text_size


async def running_text(execution: Execution, start: int, end: int) -> AsyncGenerator[bytes, None]:
    """These bytes of it, in chunks: bytes that `running_size` counted. Raises ExecutorError."""
    if start >= end:
        return
    async with shared_log(execution, text_bytes=end) as shared:
        for chunk in _text(shared, start, end):
            yield chunk
            await asyncio.sleep(0)


def _text(shared: SharedLog, start: int, end: int) -> Iterator[bytes]:
    for chunk in shared.text(start, end):
        start += len(chunk)
        yield chunk
    if start < end:
        # A response that is shorter than was said must not look whole.
        raise RuntimeError("the running log has fewer bytes than it had")
