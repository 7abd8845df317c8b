"""An execution's log as text for an agent: its end, within a budget of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from taskhub.executions.executor import LogLine
from taskhub.mcp.budget import size_of

BUDGET: Final = 12 * 1024
"""Bytes of a log in a tool's answer, as JSON in UTF-8: three quarters of what the whole answer may have."""
LINES_MOST: Final = 1000
"""Lines that an answer has at most, however short they are."""
_CUT: Final = "[...] "


class LogText(NamedTuple):
    """`after` is the number of the last whole line in it; `left_out` how many lines before it are not."""

    text: str
    after: int
    left_out: int


def log_text(lines: Sequence[LogLine], *, after: int) -> LogText:
    """The last of these lines that fit; those up to number `after` are known to the reader.

    Of a line that alone is too long, the end is kept. A line that has no end yet is shown, and comes again as a whole.
    """
    pieces: list[str] = []
    left = BUDGET
    first = 0
    for line in reversed(lines):
        if line.n <= after:
            break
        piece = line.line if line.partial else f"{line.line}\n"
        size = _size(piece)
        if size > left:
            if not pieces:
                pieces, first = [_end_of(piece)], line.n
            break
        pieces.append(piece)
        left -= size
        first = line.n
    whole = [line.n for line in lines if not line.partial]
    return LogText("".join(reversed(pieces)), max([after, *whole[-1:]]), max(0, first - 1 - after) if pieces else 0)


def _size(text: str) -> int:
    return size_of(text) - len('""')


def _end_of(text: str) -> str:
    """As much of its end as the budget has, behind a mark."""
    text = text[-BUDGET:]
    while _size(text) > BUDGET - len(_CUT):
        text = text[max(1, len(text) // 8) :]
    return _CUT + text
