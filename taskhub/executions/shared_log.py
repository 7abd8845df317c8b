"""A log that is being written, as far as this process has read it: a file without a name, and where its lines are.

Lines are kept as the bytes of their SSE frames, since that is what most readers take. Their text has a position too,
for readers of the raw log: byte `n` of it is byte `n` of the archive.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from django.conf import settings

from taskhub.events.wire_json import dumps
from taskhub.executions.executor import ExecutorError, LogLine
from taskhub.executions.log_archive import TextBlock, encode_line, entry_bytes, limit_mark, text_bytes
from taskhub.lib.timestamps import iso
from taskhub.lib.wakeup import Wakeup

CHUNK_BYTES: Final = 128 * 1024
_STRIDE: Final = 256
_FRAME_END: Final = b"\n\n"
ID: Final = b"\nid: "
DATA: Final = b"\ndata: {"


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
        # Where lines 1, 257, 513 … begin, and where their text does.
        self._index = array("Q")
        self._text_index = array("Q")
        self._kept_bytes = 0
        self._text_size = 0
        self.limit: Limit | None = None
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
        starts, text_starts = array("Q"), array("Q")
        size, text_size = self.size, self._text_size
        stamp, stamped = "", None
        for line in lines:
            if not (self.lines + len(frames)) % _STRIDE:
                starts.append(size)
                text_starts.append(text_size)
            if line.timestamp is not stamped:
                stamp, stamped = iso(line.timestamp), line.timestamp
            frame = encode_frame(line, stamp)
            frames.append(frame)
            size += len(frame)
            text_size += text_bytes(line)
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
        self._text_index.extend(text_starts)
        self._text_size = text_size
        self.lines += len(frames)
        self.size = size
        self.moved.send()

    def show_partial(self, lines: tuple[LogLine, ...]) -> None:
        """The unfinished lines at the end, in the place of the former ones."""
        self.partial = lines
        self.moved.send()

    def _look_for_limit(self, lines: Sequence[LogLine], frames: Sequence[bytes]) -> None:
        """Notice where an execution's archive will cut the log."""
        offset, text_offset = self.size, self._text_size
        for line, frame in zip(lines, frames, strict=True):
            self._kept_bytes += entry_bytes(line)
            if self._kept_bytes > settings.TASKHUB_LOG_LIMIT_BYTES:
                self.limit = Limit(line.n, offset, text_offset)
                return
            offset += len(frame)
            text_offset += text_bytes(line)

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
        last, until = self._kept()
        mark = [] if self.limit is None else [limit_mark(last + 1)]
        offset = self.offset_after(max(0, last - count + len(mark)))
        lines: list[LogLine] = []
        while offset < until:
            chunk = self.read(offset, until)
            offset += len(chunk)
            lines += [_decode(frame) for frame in chunk.split(_FRAME_END) if frame]
        return [*lines, *mark, *self.shown_partial][-count:]

    def _kept(self) -> tuple[int, int]:
        """The last line that an execution's archive will have as well, and where its frame ends."""
        return (self.lines, self.size) if self.limit is None else (self.limit.n - 1, self.limit.offset)

    def blocks(self, *, after: int) -> Iterator[TextBlock]:
        """Lines with numbers above `after`, as `LogFile.blocks` has them; no further than the archive will go."""
        last, until = self._kept()
        if after < last:
            offset = self.offset_after(after)
            while offset < until:
                chunk = self.read(offset, until)
                offset += len(chunk)
                yield _block([_decode(frame) for frame in chunk.split(_FRAME_END) if frame])
        if self.limit is not None and after <= last:
            yield _block([limit_mark(last + 1)])

    @property
    def kept_lines(self) -> int:
        """How many lines `blocks` has."""
        return self._kept()[0] + (self.limit is not None)

    @property
    def shown_partial(self) -> tuple[LogLine, ...]:
        """The unfinished lines, unless the archive ends before them."""
        return self.partial if self.limit is None else ()

    @property
    def text_size(self) -> int:
        """Bytes of the text that is here, as the archive will have it."""
        if self.limit is None:
            return self._text_size
        return self.limit.text_offset + len(encode_line(limit_mark(self.limit.n)))

    def text(self, start: int, end: int) -> Iterator[bytes]:
        """These bytes of the text, in chunks."""
        if start >= end:
            return
        stride = min(max(0, bisect_right(self._text_index, start) - 1), self._kept()[0] // _STRIDE)
        at = self._text_index[stride] if self._text_index else 0
        for block in self.blocks(after=stride * _STRIDE):
            text = b"".join([encode_line(line) for line in block.lines()])
            if start < at + len(text):
                yield text[max(0, start - at) : end - at]
            at += len(text)
            if at >= end:
                return

    def close(self) -> None:
        self._file.close()


class Limit(NamedTuple):
    """The first line that an execution's archive does not have, and where its frame and its text begin."""

    n: int
    offset: int
    text_offset: int


def _block(lines: list[LogLine]) -> TextBlock:
    return TextBlock(lines[0].n, len(lines), "\n".join([line.line for line in lines]), lambda: lines)


class LogTooLong(ExecutorError):
    def __init__(self) -> None:
        super().__init__("log_too_long", "The log is longer than this hub relays.", permanent=True)


def encode_frame(line: LogLine, stamp: str) -> bytes:
    """An SSE frame; whose log it is, is said when it is sent."""
    data = f'{{"stream":"{line.stream}","line":{dumps(line.line)},"n":{line.n},"timestamp":"{stamp}"}}'
    return f"event: log\nid: {line.n}\ndata: {data}\n\n".encode("utf-8", errors="replace")


def encode_partial(line: LogLine) -> bytes:
    """Without an id: a client that comes back has not had the line yet."""
    data = f'{{"stream":"{line.stream}","line":{dumps(line.line)},"n":{line.n},"timestamp":"{iso(line.timestamp)}"'
    return f'event: log\ndata: {data},"partial":true}}\n\n'.encode("utf-8", errors="replace")


def last_number(frames: bytes) -> int:
    start = frames.rindex(ID) + len(ID)
    return int(frames[start : frames.index(b"\n", start)])


def _decode(frame: bytes) -> LogLine:
    data = json.loads(frame[frame.index(b"\ndata: ") + len(b"\ndata: ") :])
    return LogLine(data["n"], data["stream"], data["line"], datetime.fromisoformat(data["timestamp"]))
