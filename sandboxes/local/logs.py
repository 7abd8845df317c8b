"""A command's log on disk: marked lines, written as they come and read by any number of readers.

The file's bytes are what Daytona streams: every line is preceded by three bytes that name its stream.
"""

import asyncio
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from sandboxes.local.disk import open_regular
from sandboxes.local.masking import NO_MASK, Mask

STDOUT_MARKER = b"\x01\x01\x01"
STDERR_MARKER = b"\x02\x02\x02"
CHUNK_BYTES = 65536

_MARKER = re.compile(rb"(\x01\x01\x01|\x02\x02\x02)")
_MARKER_LENGTH = 3
# A line is held back until it is complete, but not beyond this: memory stays flat whatever a command prints.
_LONGEST_HELD_BYTES = 262_144
_LONGEST_LOG_BYTES = 1 << 30
_RESTART_NOTE = (
    b"The sandbox server was restarted while this command was running: it was killed, and the end of its output may be "
    b"missing.\n"
)

_logger = logging.getLogger(__name__)


class Pulse:
    """Wakes everyone who waits. Who checks a condition and then waits, with no await in between, misses nothing."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    def send(self) -> None:
        if self._next is not None:
            self._next.set_result(None)
            self._next = None

    async def wait(self, timeout: float | None = None) -> bool:
        """False if `timeout` seconds passed without a pulse."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        done, _ = await asyncio.wait({self._next}, timeout=timeout)
        return bool(done)


class LogWriter:
    """Appends marked lines to one log. Whole lines reach the file in one write, so a killed server leaves it intact.

    What a full disk does not take is kept in memory and written later. While `blocked` is true, the caller feeds
    nothing more in, so that this is no more than it has read already.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._path = path
        self._descriptor = open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._size = os.fstat(self._descriptor).st_size
        self._pending = b""

    @property
    def blocked(self) -> bool:
        """True if the file lacks something that `append` was given."""
        return bool(self._pending)

    def append(self, data: bytes) -> None:
        """`data` is marked already. A log at its limit of 1 GiB takes no more, after a last line that says so."""
        if self._size > _LONGEST_LOG_BYTES:
            return
        self._size += len(data)
        if self._size > _LONGEST_LOG_BYTES:
            data = b"\n" + STDERR_MARKER + b"The log has reached its limit of 1 GiB; the rest is not kept.\n"
        if self.blocked:
            self._pending += data
            return
        self._pending = data
        error = self.flush()
        if error is not None:
            _logger.warning("%s is not written, its command has to wait: %s", self._path, error)

    def flush(self) -> OSError | None:
        """Write what is pending. Returns the reason if the disk does not take all of it."""
        view = memoryview(self._pending)
        failure = None
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            failure = error
        self._pending = bytes(view)
        return failure

    def close(self) -> None:
        os.close(self._descriptor)


class Marker:
    """Turns one stream's bytes into marked lines. NUL bytes are lost, as they are in Daytona's shell loop.

    Lines are masked when they are complete, so a value is found however it is cut into reads.
    """

    def __init__(self, marker: bytes, mask: Mask = NO_MASK) -> None:
        self._marker = marker
        self._mask = mask
        self._held = b""
        self._covered = 0
        self._inside_line = False

    def feed(self, data: bytes) -> bytes:
        """The complete lines so far, each with its marker; an unfinished line is held back."""
        data = self._held + data.replace(b"\0", b"")
        complete = data.rfind(b"\n") + 1
        self._held = data[complete:]
        marked = b""
        if complete:
            marked = self._mark(self._mask.apply(data[: complete - 1], self._covered)) + b"\n"
            self._inside_line = False
            self._covered = 0
        if len(self._held) > _LONGEST_HELD_BYTES:
            shown, self._held, self._covered = self._mask.begin(self._held, self._covered)
            marked += self._marker + shown
            self._inside_line = True
        return marked

    def finish(self) -> bytes:
        """What is held back, with the newline that a last line gets."""
        if not self._held and not self._inside_line:
            return b""
        rest = self._marker + self._mask.apply(self._held, self._covered) + b"\n"
        self._held = b""
        self._covered = 0
        self._inside_line = False
        return rest

    def _mark(self, lines: bytes) -> bytes:
        return self._marker + lines.replace(b"\n", b"\n" + self._marker)


class Demarker:
    """Splits a log back into its streams, whatever the cuts between the pieces."""

    def __init__(self) -> None:
        self._current = b""
        self._tail = b""

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Pairs of marker and payload. Bytes before the first marker belong to no stream: their marker is empty."""
        pieces = _MARKER.split(self._tail + data)
        # Only what follows the last whole marker may be the beginning of another.
        last = pieces[-1]
        kept = len(last) - _unfinished_marker(last)
        pieces[-1], self._tail = last[:kept], last[kept:]
        for piece in pieces:
            if piece in (STDOUT_MARKER, STDERR_MARKER):
                self._current = piece
            elif piece:
                yield self._current, piece

    def finish(self) -> Iterator[tuple[bytes, bytes]]:
        if self._tail:
            yield self._current, self._tail
            self._tail = b""


def _unfinished_marker(data: bytes) -> int:
    """How many bytes at the end may be the beginning of a marker: 0, 1 or 2."""
    for length in range(_MARKER_LENGTH - 1, 0, -1):
        if data.endswith((STDOUT_MARKER[:length], STDERR_MARKER[:length])):
            return length
    return 0


def read_log(path: Path, *, start: int = 0, end: int) -> Iterator[bytes]:
    """The log's bytes from `start` to `end`, in chunks of at most CHUNK_BYTES. Raises OSError."""
    descriptor = open_regular(path, os.O_RDONLY)
    try:
        yield from read_descriptor(descriptor, start=start, end=end)
    finally:
        os.close(descriptor)


def read_descriptor(descriptor: int, *, start: int = 0, end: int) -> Iterator[bytes]:
    """As `read_log`, of an open file. Its position is not used."""
    position = start
    while position < end and (data := os.pread(descriptor, min(CHUNK_BYTES, end - position), position)):
        position += len(data)
        yield data


def read_stream(path: Path, *, end: int, only: bytes | None = None) -> Iterator[bytes]:
    """The log without markers; only the stream with the marker `only`, if given."""
    demarker = Demarker()
    for chunk in read_log(path, end=end):
        yield _join(demarker.feed(chunk), only)
    yield _join(demarker.finish(), only)


def _join(pieces: Iterator[tuple[bytes, bytes]], only: bytes | None) -> bytes:
    return b"".join(payload for marker, payload in pieces if only is None or marker == only)


def append_restart_note(path: Path) -> None:
    """End the log of a command that was cut short: the last write may have stopped in the middle of a line.

    Raises OSError.
    """
    size = path.stat().st_size if path.exists() else 0
    ended = size == 0 or b"".join(read_log(path, start=size - 1, end=size)) == b"\n"
    writer = LogWriter(path)
    try:
        writer.append((b"" if ended else b"\n") + STDERR_MARKER + _RESTART_NOTE)
    finally:
        writer.close()
