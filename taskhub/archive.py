"""The archive of an execution's log: a text file in the CRI format that Kubernetes gives container logs.

    2025-06-22T10:00:00.123456Z stdout F the line
    └ when the hub read it       └ stream └ F: a whole line, P: it goes on in the next entry

One entry per line of the log, so that line `n` of the log is line `n` of the file. It is stored through Django's
storage API under the execution's `log_file`. At most `TASKHUB_LOG_LIMIT_BYTES` of a log are kept; the last line then
says that the rest was cut.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Final, Literal, cast

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.utils import timezone

from taskhub.executors.base import LogLine

SILENCE_S: Final = 10.0
PAUSE_S: Final = 0.5
CONNECT_S: Final = 2.0


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
            size = sum(_bytes(line) for line in batch)
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
        left -= _bytes(line)
        if left < 0:
            words = f"[TaskHub: the log was cut after {settings.TASKHUB_LOG_LIMIT_BYTES} bytes]"
            return [*kept, LogLine(line.n, "stderr", words, timezone.now(), cut=True)]
        kept.append(line)
    return kept


def _bytes(line: LogLine) -> int:
    text = line.line
    return 1 + (len(text) if text.isascii() else len(text.encode("utf-8", errors="replace")))


async def write(name: str, batches: AsyncGenerator[list[LogLine], None]) -> Archived:
    """Store the log under `name`, replacing what an earlier, interrupted attempt left there.

    The script has ended by now, so a log that stays silent for 10 s is over, whether or not its source says so.
    Raises ExecutorError as the log does; then nothing is stored.
    """
    last: LogLine | None = None
    with tempfile.TemporaryFile() as spool:
        async with aclosing(until_limit(batches)) as limited:
            while batch := await _next_within(limited, SILENCE_S):
                spool.write(b"".join([_entry(line) for line in batch]))
                last = batch[-1]
        spool.seek(0)
        if default_storage.exists(name):
            default_storage.delete(name)
        default_storage.save(name, File(spool))
    return Archived(last.n, last.cut) if last else Archived(0, truncated=False)


async def _next_within(batches: AsyncGenerator[list[LogLine], None], seconds: float) -> list[LogLine] | None:
    """The next batch; None at the end of the log, or if nothing came for `seconds`."""
    try:
        return await asyncio.wait_for(anext(batches, None), seconds)
    except TimeoutError:
        return None


async def recent(batches: AsyncGenerator[list[LogLine], None], count: int) -> list[LogLine]:
    """The last `count` lines that a running script has written so far.

    A log does not say how far it reaches now: what comes until it pauses for 0.5 s is taken for all. The connection
    has 2 s to bring the first line.
    """
    kept: deque[LogLine] = deque(maxlen=count)
    wait_s = CONNECT_S
    async with aclosing(until_limit(batches)) as limited:
        while batch := await _next_within(limited, wait_s):
            kept.extend(batch)
            wait_s = PAUSE_S
    return list(kept)


def read(name: str, *, after: int = 0) -> Iterator[LogLine]:
    """The lines with a number above `after`, in order; nothing for a log that was never stored."""
    if not default_storage.exists(name):
        return
    with default_storage.open(name, "rb") as stored:
        for n, entry in enumerate(cast("IO[bytes]", stored), start=1):
            if n > after:
                yield _parse(n, entry)


def tail(name: str, count: int) -> list[LogLine]:
    """The last `count` lines."""
    if not default_storage.exists(name):
        return []
    with default_storage.open(name, "rb") as stored:
        entries = deque(enumerate(cast("IO[bytes]", stored), start=1), maxlen=count)
    return [_parse(n, entry) for n, entry in entries]


def _entry(line: LogLine) -> bytes:
    stamp = line.timestamp.isoformat().replace("+00:00", "Z")
    # A carriage return inside a line (a progress bar) is kept; a line end cannot be in it.
    return f"{stamp} {line.stream} F {line.line}\n".encode("utf-8", errors="replace")


def _parse(n: int, entry: bytes) -> LogLine:
    stamp, stream, _, text = entry.decode("utf-8", errors="replace").rstrip("\n").split(" ", 3)
    return LogLine(n, cast("Literal['stdout', 'stderr']", stream), text, datetime.fromisoformat(stamp))
