"""The archive of an execution's log: a text file in the CRI format that Kubernetes gives container logs.

    2025-06-22T10:00:00.123456Z stdout F the line
    └ when the hub read it       └ stream └ F: a whole line, P: it goes on in the next entry

One entry per line of the log, so that line `n` of the log is line `n` of the file. It is stored through Django's
storage API under the execution's `log_file`. At most `TASKHUB_LOG_LIMIT_BYTES` of a log are kept; the last line then
says that the rest was cut.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, cast

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.utils import timezone

from taskhub.executions.executor import LogLine
from taskhub.lib.timestamps import iso

_MEMORY_BYTES: Final = 64 * 1024
"""A log is held in memory up to here, then in a file."""
_ENTRY_BYTES: Final = len("2025-06-22T10:00:00.123456Z stdout F \n")


@dataclass(frozen=True, slots=True)
class Archived:
    """What was kept: `lines` in the file, and whether the log was cut."""

    lines: int
    truncated: bool


def entry_bytes(line: LogLine) -> int:
    """What the line takes in the file."""
    text = line.line
    return _ENTRY_BYTES + (len(text) if text.isascii() else len(text.encode("utf-8", errors="replace")))


def limit_mark(n: int) -> LogLine:
    """What stands in the place of line `n`, the first that is beyond the limit."""
    return _marker(n, f"it is longer than {settings.TASKHUB_LOG_LIMIT_BYTES} bytes")


def _marker(n: int, why: str) -> LogLine:
    return LogLine(n, "stderr", f"[TaskHub: the log was cut here: {why}]", timezone.now(), cut=True)


class LogSpool:
    """An execution's log on its way into the archive: taken line by line, stored once.

    What is beyond `TASKHUB_LOG_LIMIT_BYTES` is not kept; the last line then says so.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # noqa: SIM115 - see close()
        self._left: int = settings.TASKHUB_LOG_LIMIT_BYTES
        self._last: LogLine | None = None

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
        if self.is_cut:
            return
        entries: list[bytes] = []
        for line in lines:
            if line.n <= self.n:
                continue
            self._left -= entry_bytes(line)
            self._last = line if self._left >= 0 else limit_mark(line.n)
            entries.append(_entry(self._last))
            if self._last.cut:
                break
        self._file.write(b"".join(entries))

    def cut(self, why: str) -> None:
        """The rest cannot be had, because of `why`; the last line says so."""
        if not self.is_cut:
            self._last = _marker(self.n + 1, why)
            self._file.write(_entry(self._last))

    def store(self, name: str) -> Archived:
        """Under `name`, replacing what an earlier, interrupted attempt left there. It blocks."""
        self._file.seek(0)
        if default_storage.exists(name):
            default_storage.delete(name)
        default_storage.save(name, File(self._file))
        return Archived(self.n, self.is_cut)

    def close(self) -> None:
        self._file.close()


def read(name: str, *, after: int = 0) -> Iterator[LogLine]:
    """The lines with a number above `after`, in order; nothing for a log that was never stored."""
    if not default_storage.exists(name):
        return
    with default_storage.open(name, "rb") as stored:
        for n, entry in _entries(stored):
            if n > after:
                yield _parse(n, entry)


def _entries(stored: File[bytes]) -> Iterator[tuple[int, bytes]]:
    """Django's own iteration over a file would also split at a carriage return, which a progress bar is made of."""
    return enumerate(iter(stored.readline, b""), start=1)


def tail(name: str, count: int) -> list[LogLine]:
    """The last `count` lines."""
    if not default_storage.exists(name):
        return []
    with default_storage.open(name, "rb") as stored:
        entries = deque(_entries(stored), maxlen=count)
    return [_parse(n, entry) for n, entry in entries]


def _entry(line: LogLine) -> bytes:
    stamp = iso(line.timestamp)
    # A carriage return inside a line (a progress bar) is kept; a line end cannot be in it.
    return f"{stamp} {line.stream} F {line.line}\n".encode("utf-8", errors="replace")


def _parse(n: int, entry: bytes) -> LogLine:
    stamp, stream, _, text = entry.decode("utf-8", errors="replace").rstrip("\n").split(" ", 3)
    return LogLine(n, cast("Literal['stdout', 'stderr']", stream), text, datetime.fromisoformat(stamp))
