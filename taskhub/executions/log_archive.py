"""The archive of an execution's log: its text, and an index of times beside it.

The text is stored through Django's storage API under the execution's `log_file`, in UTF-8 with LF; line `n` of the log
is line `n` of the file. `log_file` with `.index` behind it has the time and the stream of each line
(`log_index.py`). At most `TASKHUB_LOG_LIMIT_BYTES` of a log are kept; the last line then says that the rest was cut.

Archives of version 0.1 have no index: there each line of the file begins with its time and stream, in the CRI format
of Kubernetes. They are read as well, from their beginning each time.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final, Literal, NamedTuple, Protocol, cast

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.utils import timezone

from taskhub.executions.executor import LogLine
from taskhub.executions.log_index import SUFFIX, Block, IndexBroken, IndexReader, IndexWriter

_MEMORY_BYTES: Final = 64 * 1024
"""A log is held in memory up to here, then in a file."""
CHUNK_BYTES: Final = 128 * 1024
_ENTRY_BYTES: Final = len("2025-06-22T10:00:00.123456Z stdout F \n")
_OLD_ENTRY: Final = re.compile(rb"(\d{4}-\d\d-\d\dT[\d:.]+Z) (stdout|stderr) [FP] (.*)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Archived:
    """What was kept: `lines` in the file, and whether the log was cut."""

    lines: int
    truncated: bool


def entry_bytes(line: LogLine) -> int:
    """What the line counts against the limit: its text, and 38 bytes, so that empty lines have a limit as well."""
    return _ENTRY_BYTES + text_bytes(line) - 1


def text_bytes(line: LogLine) -> int:
    """What its text takes in UTF-8, with the line end."""
    text = line.line
    return 1 + (len(text) if text.isascii() else len(text.encode("utf-8", errors="replace")))


def limit_mark(n: int) -> LogLine:
    """What stands in the place of line `n`, the first that is beyond the limit."""
    return _marker(n, f"it is longer than {settings.TASKHUB_LOG_LIMIT_BYTES} bytes")


def _marker(n: int, why: str) -> LogLine:
    return LogLine(n, "stderr", f"[TaskHub: the log was cut here: {why}]", timezone.now(), cut=True)


def encode_line(line: LogLine) -> bytes:
    """A carriage return inside a line (a progress bar) is kept; a line end cannot be in it."""
    return line.line.encode("utf-8", errors="replace") + b"\n"


class LogSpool:
    """An execution's log on its way into the archive: taken line by line, stored once.

    What is beyond `TASKHUB_LOG_LIMIT_BYTES` is not kept; the last line then says so.
    """

    def __init__(self) -> None:
        self._text = tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # noqa: SIM115 - see close()
        self._index_file = tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # noqa: SIM115 - likewise
        self._index = IndexWriter(self._index_file)
        self._left: int = settings.TASKHUB_LOG_LIMIT_BYTES
        self._last: LogLine | None = None
        self._is_finished = False

    @property
    def n(self) -> int:
        """The number of the last line."""
        return self._last.n if self._last is not None else 0

    @property
    def is_cut(self) -> bool:
        """Whether the rest of the log is left out."""
        return self._last is not None and self._last.cut

    def add(self, lines: Sequence[LogLine]) -> None:
        """The next lines, in order; those that are there already are passed over."""
        if self.is_cut or self._is_finished:
            return
        texts: list[bytes] = []
        for line in lines:
            if line.n <= self.n:
                continue
            self._left -= entry_bytes(line)
            self._last = line if self._left >= 0 else limit_mark(line.n)
            texts.append(self._take(self._last))
            if self._last.cut:
                break
        self._text.write(b"".join(texts))

    def cut(self, why: str) -> None:
        """The rest cannot be had, because of `why`; the last line says so."""
        if not self.is_cut and not self._is_finished:
            self._last = _marker(self.n + 1, why)
            self._text.write(self._take(self._last))

    def _take(self, line: LogLine) -> bytes:
        text = encode_line(line)
        self._index.add(line.timestamp, line.stream, len(text))
        return text

    def finish(self) -> None:
        """From now on nothing is taken: another thread may store what there is, while the log is still read here."""
        if not self._is_finished:
            self._is_finished = True
            self._index.finish()

    def store(self, name: str) -> Archived:
        """Under `name`, replacing what an earlier, interrupted attempt left there. It blocks; `finish` comes first."""
        _replace(name, self._text)
        _replace(name + SUFFIX, self._index_file)
        return Archived(self.n, self.is_cut)

    def close(self) -> None:
        self._text.close()
        self._index_file.close()


def _replace(name: str, file: tempfile.SpooledTemporaryFile[bytes]) -> None:
    file.seek(0)
    if default_storage.exists(name):
        default_storage.delete(name)
    default_storage.save(name, File(file))


def delete(name: str) -> None:
    """The archived log; one that is not there is no error."""
    for stored in (name + SUFFIX, name):
        default_storage.delete(stored)


class TextBlock(NamedTuple):
    """Some lines of a log: the first one's number, how many (`number`), their text, and a function that makes them."""

    first: int
    number: int
    text: str
    lines: Callable[[], list[LogLine]]


class LogFile(Protocol):
    """An archived log: its number of lines, and the size of its text in bytes."""

    lines: int
    size: int

    def text(self, start: int, end: int) -> Iterator[bytes]:
        """These bytes of the text, in chunks."""
        ...

    def blocks(self, *, after: int) -> Iterator[TextBlock]:
        """The lines from the block on that has line `after + 1`."""
        ...


@contextmanager
def open_log(name: str) -> Iterator[LogFile | None]:
    """The archived log; None for one that was never stored."""
    if not default_storage.exists(name):
        yield None
        return
    with default_storage.open(name, "rb") as stored:
        if not default_storage.exists(name + SUFFIX):
            yield _without_index(name, stored)
            return
        with default_storage.open(name + SUFFIX, "rb") as index:
            try:
                yield _Indexed(stored, IndexReader(index, size=stored.size))
            except IndexBroken:
                yield _without_index(name, stored)


def _without_index(name: str, stored: File[bytes]) -> LogFile:
    first = stored.readline()
    stored.seek(0)
    if _OLD_ENTRY.match(first.rstrip(b"\n")):
        return _Old(stored)
    # Its index was lost: nothing says when its lines were written, but for the file itself.
    return _Bare(stored, default_storage.get_modified_time(name))


class _Indexed:
    def __init__(self, stored: File[bytes], index: IndexReader) -> None:
        self._stored = stored
        self._index = index
        self.size = index.size
        self.lines = index.lines

    def text(self, start: int, end: int) -> Iterator[bytes]:
        yield from _chunks(self._stored, start, end)

    def blocks(self, *, after: int) -> Iterator[TextBlock]:
        for block in self._index.blocks(after=after):
            self._stored.seek(block.start)
            text = self._stored.read(block.end - block.start).decode("utf-8", errors="replace")

            def lines(block: Block = block, text: str = text) -> list[LogLine]:
                found = zip(text.split("\n"), block.lines, strict=False)
                return [LogLine(n, stream, line, at) for n, (line, (at, stream)) in enumerate(found, block.first)]

            yield TextBlock(block.first, len(block.lines), text, lines)


def _chunks(stored: File[bytes], start: int, end: int) -> Iterator[bytes]:
    stored.seek(start)
    while start < end and (chunk := stored.read(min(CHUNK_BYTES, end - start))):
        start += len(chunk)
        yield chunk


class _Bare:
    """A text without an index."""

    def __init__(self, stored: File[bytes], at: datetime) -> None:
        self._stored = stored
        self._at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        self.size = stored.size
        self.lines = sum(1 for _ in _entries(stored))

    def text(self, start: int, end: int) -> Iterator[bytes]:
        yield from _chunks(self._stored, start, end)

    def blocks(self, *, after: int) -> Iterator[TextBlock]:
        self._stored.seek(0)
        yield from _by_lines(self._stored, self._parse, after)

    def _parse(self, n: int, entry: bytes) -> LogLine:
        return LogLine(n, "stdout", entry.decode("utf-8", errors="replace"), self._at)


class _Old:
    """An archive of version 0.1."""

    def __init__(self, stored: File[bytes]) -> None:
        self._stored = stored
        self.size = self.lines = 0
        for line in self._lines():
            self.size += text_bytes(line)
            self.lines = line.n

    def text(self, start: int, end: int) -> Iterator[bytes]:
        at = 0
        for line in self._lines():
            text = encode_line(line)
            if start < at + len(text) and at < end:
                yield text[max(0, start - at) : end - at]
            at += len(text)

    def blocks(self, *, after: int) -> Iterator[TextBlock]:
        self._stored.seek(0)
        yield from _by_lines(self._stored, self._parse, after)

    def _lines(self) -> Iterator[LogLine]:
        self._stored.seek(0)
        return (self._parse(n, entry) for n, entry in _entries(self._stored))

    @staticmethod
    def _parse(n: int, entry: bytes) -> LogLine:
        found = _OLD_ENTRY.match(entry)
        if found is None:
            return LogLine(n, "stdout", entry.decode("utf-8", errors="replace"), datetime.fromtimestamp(0, UTC))
        stamp, stream, text = (part.decode("utf-8", errors="replace") for part in found.groups())
        return LogLine(n, cast("Literal['stdout', 'stderr']", stream), text, datetime.fromisoformat(stamp))


def _entries(stored: File[bytes]) -> Iterator[tuple[int, bytes]]:
    """Django's own iteration over a file would also split at a carriage return, which a progress bar is made of."""
    lines = iter(stored.readline, b"")
    return ((n, line.removesuffix(b"\n")) for n, line in enumerate(lines, start=1))


def _by_lines(stored: File[bytes], parse: Callable[[int, bytes], LogLine], after: int) -> Iterator[TextBlock]:
    for n, entry in _entries(stored):
        if n > after:
            line = parse(n, entry)
            yield TextBlock(n, 1, line.line, partial(list, [line]))


def read(name: str, *, after: int = 0) -> Iterator[LogLine]:
    """The lines with a number above `after`, in order; nothing for a log that was never stored."""
    with open_log(name) as log:
        if log is not None:
            yield from _lines_of(log, after)


def tail(name: str, count: int) -> list[LogLine]:
    """The last `count` lines."""
    with open_log(name) as log:
        return list(_lines_of(log, max(0, log.lines - count))) if log is not None else []


def _lines_of(log: LogFile, after: int) -> Iterator[LogLine]:
    for block in log.blocks(after=after):
        for line in block.lines():
            if line.n > after:
                yield line
