"""Search of an execution's whole log: how many lines match, and which ones.

A running log is what this process has read of it, a finished one its archive; both are masked already. Lines are read
block by block and forgotten, so a search costs a block of memory and the numbers that it found.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from taskhub.executions import log_archive, log_reading
from taskhub.executions.log_archive import TextBlock
from taskhub.executions.log_stream import shared_log
from taskhub.executions.log_text import searched
from taskhub.lib.storage_threads import on_storage_thread
from taskhub.lib.text_folding import fold
from taskhub.models import Execution

Kind = Literal["text", "error", "stderr"]

_ERROR: Final = re.compile(
    # After "0 ", "no " or "without " it says that there was none; after _ / or - it is part of a name.
    r"(?<!\b0 )(?<!\bno )(?<!\bwithout )(?<![_/\-])"
    r"(?:errors?|exception|\b(?:traceback|fatal|panic|failed|failure|segmentation fault|command not found))"
    r"""(?![\w/\-]|\.\w|"? *[=:] *(?:0|none|false)\b|(?:" *:| *=) *null\b)"""
)
"""In folded text. Tested one by one in `tests/unit/test_log_search.py`."""


@dataclass(frozen=True, slots=True)
class Found:
    """`count` lines match, and `matches` are the numbers of the first ones.

    `next` is the line from which to search on; None at the end of a finished log. `lines`: how many the log has.
    """

    count: int
    matches: list[int]
    next: int | None
    lines: int


async def log_search(execution: Execution, *, kind: Kind, q: str, first: int, limit: int) -> Found:
    """The lines from number `first` on that have the text `q`, or look like an error, or are of stderr.

    `next` comes sooner where the search would take too long (`log_reading.SEARCH_S`). Raises ExecutorError.
    """
    search = _Search(_matcher(kind, q), first, limit)
    if not execution.is_active:
        return await on_storage_thread(_archived, execution.log_file, search)
    if not execution.command_id:
        return Found(0, [], first, 0)
    async with shared_log(execution) as shared:
        for block in shared.blocks(after=first - 1):
            if search.take(block):
                break
            await asyncio.sleep(0)  # others work on this loop
        return Found(search.count, search.matches, search.next, shared.kept_lines)


def _archived(name: str, search: _Search) -> Found:
    with log_archive.open_log(name) as log:
        if log is None:
            return Found(0, [], None, 0)
        for block in log.blocks(after=search.next - 1):
            if search.take(block):
                break
        return Found(search.count, search.matches, search.next if search.next <= log.lines else None, log.lines)


class _Search:
    """Takes blocks of lines. `next` is the first line that it has not looked at."""

    def __init__(self, matching: Matching, first: int, limit: int) -> None:
        self.count = 0
        self.matches: list[int] = []
        self.next = first
        self._matching = matching
        self._limit = limit
        self._chars = 0
        self._until = time.monotonic() + log_reading.SEARCH_S

    def take(self, block: TextBlock) -> bool:
        """Whether that was enough for one request."""
        found = [n for n in self._matching(block) if n >= self.next]
        self.count += len(found)
        self.matches += found[: self._limit - len(self.matches)]
        self.next = max(self.next, block.first + block.number)
        self._chars += len(block.text)
        return self._chars >= log_reading.SEARCH_CHARS or time.monotonic() >= self._until


Matching = Callable[[TextBlock], list[int]]
"""The numbers of the lines of a block that match, in order."""


def _matcher(kind: Kind, q: str) -> Matching:
    if kind == "stderr":
        return _of_stderr
    if kind == "error":
        return _in_text(lambda text: _ERROR.search(text) is not None)
    sought = fold(q)
    return _in_text(lambda text: sought in text)


def _in_text(matches: Callable[[str], bool]) -> Matching:
    """By folded text: of a whole block first, for most have no match."""

    def matching(block: TextBlock) -> list[int]:
        text = searched(block.text)
        if not matches(text):
            return []
        lines = text.split("\n")[: block.number]
        return [n for n, line in enumerate(lines, block.first) if matches(line)]

    return matching


def _of_stderr(block: TextBlock) -> list[int]:
    return [line.n for line in block.lines() if line.stream == "stderr"]
