"""The archive of an execution's log: a text file in the CRI format that Kubernetes gives container logs.

    2025-06-22T10:00:00.123456Z stdout F the line
    └ when the hub read it       └ stream └ F: a whole line, P: it goes on in the next entry

One entry per line of the log, so that line `n` of the log is line `n` of the file. It is stored through Django's
storage API under the execution's `log_file`. At most `TASKHUB_LOG_LIMIT_BYTES` of a log are kept; the last line then
says that the rest was cut.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Final, Literal, cast

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.utils import timezone

from taskhub.executions.executor import LogLine
from taskhub.lib.timestamps import iso

SILENCE_S: Final = 10.0
WRITE_S: Final = 60.0
_ENTRY_BYTES: Final = len("2025-06-22T10:00:00.123456Z stdout F \n")


@dataclass(frozen=True, slots=True)
class Archived:
    """What was kept: `lines` in the file, and whether the log was cut."""

    lines: int
    truncated: bool


async def until_limit(batches: AsyncGenerator[list[LogLine], None]) -> AsyncGenerator[list[LogLine], None]:
    """A log's batches of lines up to the limit, then the marker; the rest is not even read."""
    left = settings.TASKHUB_LOG_LIMIT_BYTES
    async with aclosing(batches) as source:
        async for batch in source:
            size = sum(entry_bytes(line) for line in batch)
            if size <= left:
                left -= size
                yield batch
            else:
                yield _cut(batch, left)
                return


def _cut(batch: list[LogLine], left: int) -> list[LogLine]:
    """What of the batch fits into `left`, and the marker in the place of the first line that does not."""
    kept: list[LogLine] = []
    for line in batch:
        left -= entry_bytes(line)
        if left < 0:
            return [*kept, limit_mark(line.n)]
        kept.append(line)
    return kept


def entry_bytes(line: LogLine) -> int:
    """What the line takes in the file."""
    text = line.line
    return _ENTRY_BYTES + (len(text) if text.isascii() else len(text.encode("utf-8", errors="replace")))


def limit_mark(n: int) -> LogLine:
    """What stands in the place of line `n`, the first that is beyond the limit."""
    return _marker(n, f"it is longer than {settings.TASKHUB_LOG_LIMIT_BYTES} bytes")


def _marker(n: int, why: str) -> LogLine:
    return LogLine(n, "stderr", f"[TaskHub: the log was cut here: {why}]", timezone.now(), cut=True)


async def write(name: str, batches: AsyncGenerator[list[LogLine], None]) -> Archived:
    """Store the log under `name`, replacing what an earlier, interrupted attempt left there.

    The script has ended by now, so a log that stays silent for 10 s is over, whether or not its source says so; and one
    that has not ended after 60 s is cut. Raises ExecutorError as the log does; then nothing is stored.
    """
    last: LogLine | None = None
    until = time.monotonic() + WRITE_S
    with tempfile.TemporaryFile() as spool:
        async with aclosing(until_limit(batches)) as limited:
            while batch := await _next_within(limited, SILENCE_S):
                if time.monotonic() > until:
                    batch = [_marker(batch[0].n, f"it had not ended {WRITE_S:.0f} s after the script")]
                    until = math.inf
                spool.write(b"".join([_entry(line) for line in batch]))
                last = batch[-1]
                if last.cut:
                    break
        # The storage may be slow, and others work on this loop.
        await sync_to_async(_store)(name, spool)
    return Archived(last.n, last.cut) if last else Archived(0, truncated=False)


def _store(name: str, spool: IO[bytes]) -> None:
    spool.seek(0)
    if default_storage.exists(name):
        default_storage.delete(name)
    default_storage.save(name, File(spool))


async def _next_within(batches: AsyncGenerator[list[LogLine], None], seconds: float) -> list[LogLine] | None:
    """The next batch; None at the end of the log, or if nothing came for `seconds`."""
    try:
        return await asyncio.wait_for(anext(batches, None), seconds)
    except TimeoutError:
        return None


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
