"""Index of an archived log: when each line was read, its stream, and where blocks of lines begin.

It is stored beside the text (`log_archive.py`) and holds, in this order:

    blocks   a number for each line, in as few bytes as it needs: 2 times the milliseconds since the line before it,
             plus 1 for stderr. A block ends after 256 lines or 64 KiB of text.
    table    for each block: its first line, where its text begins, the time of its first line (milliseconds since
             1970), where its numbers begin; 8 bytes each
    footer   the number of lines, the size of the text, where the table begins, and 8 bytes that name the format

A line takes little more than a byte, and any line is found by reading the table and one block.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, Final, Literal

SUFFIX: Final = ".index"
"""The index of `x.log` is `x.log.index`."""
_LINES: Final = 256
_BYTES: Final = 64 * 1024
_FOOTER: Final = struct.Struct(">QQQ8s")
_FORMAT: Final = b"TLOGIDX1"
_COLUMNS: Final = 4

Stream = Literal["stdout", "stderr"]


class IndexBroken(Exception):
    """The file is not an index, or not that of this text."""


class IndexWriter:
    """Takes the lines of a log in order, and writes the index."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._table = array("Q")
        self._lines = 0
        self._size = 0
        self._written = 0
        self._block_lines = _LINES
        self._block_began = 0
        self._last_ms = 0

    def add(self, timestamp: datetime, stream: Stream, size: int) -> None:
        """The next line, whose text takes `size` bytes with its line end."""
        # A clock that was set back must not cost a number of its own kind.
        ms = max(self._last_ms, int(timestamp.timestamp() * 1000))
        if self._block_lines >= _LINES or self._size - self._block_began >= _BYTES:
            self._table.extend((self._lines + 1, self._size, ms, self._written))
            self._block_lines, self._block_began, self._last_ms = 0, self._size, ms
        number = (ms - self._last_ms) << 1 | (stream == "stderr")
        self._last_ms = ms
        self._written += self._file.write(_varint(number))
        self._block_lines += 1
        self._lines += 1
        self._size += size

    def finish(self) -> None:
        table = array("Q", self._table)
        if struct.pack("=H", 1) != struct.pack(">H", 1):
            table.byteswap()
        self._file.write(table.tobytes())
        self._file.write(_FOOTER.pack(self._lines, self._size, self._written, _FORMAT))


def _varint(number: int) -> bytes:
    if number < 128:  # noqa: PLR2004 - seven bits
        return bytes((number,))
    found = bytearray()
    while number:
        found.append(number & 127 | (128 if number > 127 else 0))  # noqa: PLR2004 - likewise
        number >>= 7
    return bytes(found)


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive lines: the first one's number, where their text is, and each line's time and stream."""

    first: int
    start: int
    end: int
    lines: list[tuple[datetime, Stream]]


class IndexReader:
    """Reads the index of a text of `size` bytes. Raises IndexBroken."""

    def __init__(self, file: IO[bytes] | Any, *, size: int) -> None:
        self._file = file
        length = file.seek(0, 2)
        if length < _FOOTER.size:
            raise IndexBroken
        file.seek(length - _FOOTER.size)
        self.lines, self.size, self._table_at, name = _FOOTER.unpack(file.read(_FOOTER.size))
        table_bytes = length - _FOOTER.size - self._table_at
        if name != _FORMAT or self.size != size or table_bytes < 0 or table_bytes % (8 * _COLUMNS):
            raise IndexBroken
        file.seek(self._table_at)
        table = array("Q", file.read(table_bytes))
        if struct.pack("=H", 1) != struct.pack(">H", 1):
            table.byteswap()
        self._firsts, self._starts, self._times, self._places = (table[n::_COLUMNS] for n in range(_COLUMNS))

    def blocks(self, *, after: int = 0) -> Iterator[Block]:
        """The blocks from the one that holds line `after + 1` on."""
        if after >= self.lines:
            return
        count = len(self._firsts)
        for at in range(bisect_right(self._firsts, after + 1) - 1, count):
            is_last = at + 1 == count
            place = self._places[at]
            self._file.seek(place)
            numbers = self._file.read((self._table_at if is_last else self._places[at + 1]) - place)
            end = self.size if is_last else self._starts[at + 1]
            yield Block(self._firsts[at], self._starts[at], end, _lines(numbers, self._times[at]))


def _lines(numbers: bytes, ms: int) -> list[tuple[datetime, Stream]]:
    found: list[tuple[datetime, Stream]] = []
    number = shift = 0
    for byte in numbers:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:  # noqa: PLR2004 - the last byte of a number
            ms += number >> 1
            found.append((datetime.fromtimestamp(ms / 1000, UTC), "stderr" if number & 1 else "stdout"))
            number = shift = 0
    return found
