"""Log follower: a command's log as numbered lines, over connections that may be cut.

Daytona replays a log from its first byte on every connection and has no offset, so a line's number is its position in
the replay: after a cut the follower reconnects and drops the lines that it has delivered.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Final, NamedTuple

from django.utils import timezone

from sandboxes import gateway
from sandboxes.backoff import Backoff
from sandboxes.errors import SandboxError, SandboxUnavailable
from sandboxes.log_marks import BEGIN, MARK_CHARS, LogMarks
from taskhub.events.wire_json import MOST_BYTES_PER_CHARACTER, TEXT_LIMIT, split_text
from taskhub.executions.executor import (
    SPLIT_MARK,
    FilesChanged,
    LogLine,
    LogTokens,
    PartialLines,
    ScriptEnd,
    Sign,
    Signed,
    Troubled,
)
from taskhub.executions.masking import Mask

log = logging.getLogger(__name__)

LINE_BYTES: Final = TEXT_LIMIT
"""64 KiB of JSON, as streams send it: so every process splits a line alike, and no client refuses a frame."""
SNAPSHOT_BYTES: Final = 32 * 1024 * 1024
"""A snapshot comes in one piece, with every line twice; if it would be longer, a second replay is used instead."""
_MARKS: Final[dict[str, gateway.Stream]] = {"\x01\x01\x01": "stdout", "\x02\x02\x02": "stderr"}
_MARK: Final = re.compile("(\x01\x01\x01|\x02\x02\x02)")
PARTIAL_CUT_BYTES: Final = 1990
"""The runner shows the last 2,000 bytes of an unfinished line, less some of a character that is cut in two."""
_PATIENCE_MOST: Final = 20
_ROUND_PIECES: Final = 1000
_ROUND_CHARS: Final = 128 * 1024
"""Characters of a snapshot that are processed before other tasks of the loop run."""

Pieces = Iterable[tuple[gateway.Stream, str]]


class LineCounter:
    """Numbered lines from pieces of two streams.

    A line ends with LF. A line of more than 64 KiB as JSON is split; every part but the last ends with a mark. Where it
    is split depends on the line alone, not on the pieces in which it comes.

    With `marks`, the runner's marks are taken out and understood: see `sandboxes/log_marks.py`. With a `mask`, secret
    values show as `***`; where a line is split depends on the masked line.
    """

    def __init__(self, marks: LogMarks | None = None, mask: Mask | None = None) -> None:
        self._rest: dict[gateway.Stream, str] = {"stdout": "", "stderr": ""}
        self.marks = marks
        # What may be the beginning of a mark stays with the rest of its line.
        self._held = MARK_CHARS if marks else 0
        self._masked = MaskedLines(mask, self._held) if mask is not None else None
        if mask is not None:
            self._held += mask.longest
        self.n = 0
        self.chars = 0

    def feed(self, pieces: Pieces) -> list[LogLine]:
        """The lines that these pieces complete."""
        now = timezone.now()
        surely_short = LINE_BYTES // MOST_BYTES_PER_CHARACTER
        n = self.n
        found: list[LogLine] = []
        for stream, text in pieces:
            self.chars += len(text)
            lines = (self._rest[stream] + text).split("\n")
            rest = lines.pop()
            if self.marks is not None:
                lines, rest = self.marks.strip(stream, lines, rest)
            if self._masked is not None:
                lines = self._masked.whole(stream, lines)
            for line in lines:
                for part in [line] if len(line) <= surely_short else _split(line):
                    n += 1
                    found.append(LogLine(n, stream, part, now))
            if len(rest) > surely_short + self._held:
                split = _split_begun if self._masked is None else self._masked.begun
                begun, rest = split(stream, rest, self._held)
                for part in begun:
                    n += 1
                    found.append(LogLine(n, stream, part, now))
            self._rest[stream] = rest
        self.n = n
        return found

    def skip(self, pieces: Pieces) -> None:
        """Only what the marks in these pieces say: their lines are neither kept nor counted, so `feed` is over."""
        for stream, text in pieces:
            self.chars += len(text)
            if self.marks is None:
                continue
            lines, _, rest = (self._rest[stream] + text).rpartition("\n")
            if BEGIN in lines:
                self.marks.strip(stream, [line for line in lines.split("\n") if BEGIN in line], "")
            self._rest[stream] = rest[-MARK_CHARS:]

    def partials(self) -> tuple[LogLine, ...]:
        """The unfinished lines, as far as the runner showed them, under the numbers that come next."""
        if self.marks is None:
            return ()
        now = timezone.now()
        shown = [(stream, self._provisional(text)) for stream, text in self.marks.partial.items() if text]
        return tuple(LogLine(self.n + n, stream, text, now, partial=True) for n, (stream, text) in enumerate(shown, 1))

    def _provisional(self, text: str) -> str:
        return text if self._masked is None else self._masked.provisional(text)

    def finish(self) -> list[LogLine]:
        """The last lines, without a line end."""
        return self.feed([(stream, "\n") for stream, rest in self._rest.items() if rest])


class MaskedLines:
    """The lines of two streams with their secret values masked, also those of which only the beginning is known."""

    def __init__(self, mask: Mask, mark_chars: int) -> None:
        self._mask = mask
        # Beyond a mark, something of the line is left: so no end of a line is without text.
        self._hold = mark_chars + mask.longest
        # Of the unfinished line: what is masked, but not told; how much of what follows is a masked value's.
        self._begun: dict[gateway.Stream, str] = {"stdout": "", "stderr": ""}
        self._covered: dict[gateway.Stream, int] = {"stdout": 0, "stderr": 0}

    def whole(self, stream: gateway.Stream, lines: list[str]) -> list[str]:
        """Lines that have ended."""
        if not lines:
            return lines
        if not self._begun[stream]:
            return self._all(lines)
        first = self._begun[stream] + self._mask.rest(lines[0], self._covered[stream])
        self._begun[stream], self._covered[stream] = "", 0
        return [first, *self._all(lines[1:])]

    def _all(self, lines: list[str]) -> list[str]:
        if not lines:
            return lines
        # No value has a line end in it, so they are looked for in all lines at once.
        text = "\n".join(lines)
        masked = self._mask.apply(text)
        return lines if masked is text else masked.split("\n")

    def begun(self, stream: gateway.Stream, rest: str, _: int) -> tuple[list[str], str]:
        """The parts that are certain of a long line that has not ended, and what is to come back with more of it."""
        masked, rest, self._covered[stream] = self._mask.begun(rest, self._covered[stream], self._hold)
        *parts, self._begun[stream] = split_text(self._begun[stream] + masked, LINE_BYTES)
        return [part + SPLIT_MARK for part in parts], rest

    def provisional(self, text: str) -> str:
        return self._mask.provisional(text, is_cut=len(text.encode(errors="replace")) >= PARTIAL_CUT_BYTES)


def _split(line: str) -> list[str]:
    *begun, last = split_text(line, LINE_BYTES)
    return [*(part + SPLIT_MARK for part in begun), last]


def _split_begun(_: gateway.Stream, rest: str, held: int) -> tuple[list[str], str]:
    """The parts of a line that has not ended yet, and what is left of it: at least its last `held` characters."""
    *begun, last = split_text(rest, LINE_BYTES)
    while begun and len(last) < held:
        last = begun.pop() + last
    return [part + SPLIT_MARK for part in begun], last


def unmarked(output: str) -> Iterator[tuple[gateway.Stream, str]]:
    """The pieces of a snapshot's `output`, whose marks name the stream; text before the first mark is dropped."""
    stream: gateway.Stream | None = None
    start = 0
    for mark in _MARK.finditer(output):
        if stream is not None:
            yield from _cut(stream, output, start, mark.start())
        stream, start = _MARKS[mark[0]], mark.end()
    if stream is not None:
        yield from _cut(stream, output, start, len(output))


def _cut(stream: gateway.Stream, output: str, start: int, end: int) -> Iterator[tuple[gateway.Stream, str]]:
    for at in range(start, end, _ROUND_CHARS):
        yield stream, output[at : min(at + _ROUND_CHARS, end)]


def _rounds(pieces: Pieces) -> Iterator[list[tuple[gateway.Stream, str]]]:
    taken: list[tuple[gateway.Stream, str]] = []
    chars = 0
    for piece in pieces:
        taken.append(piece)
        chars += len(piece[1])
        if chars >= _ROUND_CHARS or len(taken) == _ROUND_PIECES:
            yield taken
            taken, chars = [], 0
    if taken:
        yield taken


class Snapshot(NamedTuple):
    """A log as it is now; `end` is what the runner's end marks say, where they are in it."""

    lines: list[LogLine]
    end: ScriptEnd | None


async def read_snapshot(
    toolbox: gateway.Toolbox, session: str, command: str, tokens: LogTokens | None, mask: Mask | None
) -> Snapshot | None:
    """None where the log is too long for one answer. Raises SandboxError."""
    document = await toolbox.snapshot(session, command, limit_bytes=SNAPSHOT_BYTES)
    if document is None:
        return None
    counter = LineCounter(LogMarks(tokens) if tokens is not None else None, mask)
    lines: list[LogLine] = []
    for pieces in _rounds(unmarked(document.get("output") or "")):
        lines += counter.feed(pieces)
        await asyncio.sleep(0)
    lines += counter.finish()
    return Snapshot(lines, counter.marks.end if counter.marks is not None else None)


class Follower:
    """One reading of a log, over as many connections as needed.

    0. Ask for the command, so that one that is not there is known at once.
    1. Connect; number the lines as they come; deliver those above the last one delivered.
    2. Cut off: tell `on_trouble`, wait with backoff, and go on at 1.
    3. Silent: ask whether the command has ended (unless the caller watches it, `is_watched`); then Daytona has
       forgotten to close the connection. One that has
       brought nothing at all is given up, ever more patiently: it may never have been a connection.
    4. Closed by Daytona: if the command has not ended, go on at 1. If it has, the log is held against a snapshot, for
       Daytona closes some connections too early; what is missing is delivered from there.
    5. With `tokens`, the runner's end mark on both streams is the end: nothing is asked, and nothing waited for.
    6. Once `enough` says so, the log is read for its marks alone: batches come as before, but empty.

    `exit_code` is the script's; `end` has it from the runner, where the runner said it.
    """

    def __init__(
        self,
        toolbox: gateway.Toolbox,
        session: str,
        command: str,
        on_trouble: Troubled | None = None,
        *,
        tokens: LogTokens | None = None,
        mask: Mask | None = None,
        on_sign: Signed | None = None,
        enough: Callable[[], bool] = lambda: False,
        is_known: bool = False,
        is_watched: bool = False,
    ) -> None:
        self._toolbox = toolbox
        self._session = session
        self._command = command
        self._on_trouble = on_trouble
        self._backoff = Backoff(first_s=0.5, most_s=10.0)
        self._delivered = 0
        self._patience = 1
        self._tokens = tokens
        self._mask = mask
        self._on_sign = on_sign
        self._enough = enough
        self._is_known = is_known
        self._is_watched = is_watched
        self._told_changes = 0
        self._told: set[Sign] = set()
        self._told_partials: tuple[tuple[int, str], ...] = ()
        self.exit_code: int | None = None
        self.end: ScriptEnd | None = None

    async def lines(self) -> AsyncGenerator[list[LogLine], None]:
        """The log in batches, each line once, until the command has ended. Raises SandboxError if it is gone."""
        while True:
            counter = self._counter()
            try:
                await self._make_sure()
                async with aclosing(self._connection(counter)) as batches:
                    async for batch in batches:
                        yield batch
                if self.end is not None:
                    return
                if await self._has_ended():
                    async with aclosing(self._missing(counter)) as batches:
                        async for batch in batches:
                            yield batch
                    return
            except SandboxUnavailable as error:
                await self._wait(error)
            else:
                # Closed for an unknown reason: do not reconnect at once.
                await asyncio.sleep(self._backoff.next_s())

    async def _make_sure(self) -> None:
        """That there is such a command. Raises SandboxMissing."""
        if not self._is_known:
            await self._has_ended()
            self._is_known = True

    async def _connection(self, counter: LineCounter) -> AsyncGenerator[list[LogLine], None]:
        silences = 0
        async with aclosing(self._toolbox.follow(self._session, self._command)) as pieces:
            async for batch in pieces:
                if not batch:
                    silences += 1
                    has_ended = not self._is_watched and await self._has_ended()
                    if has_ended or (not counter.chars and silences >= self._patience):
                        self._patience = min(2 * self._patience, _PATIENCE_MOST)
                        return
                    continue
                if (lines := self._read(counter, batch)) or self._enough():
                    yield lines
                    self._backoff.reset()
                if counter.marks is not None and self._has_said_the_end(counter, counter.marks):
                    return

    def _counter(self) -> LineCounter:
        return LineCounter(LogMarks(self._tokens) if self._tokens is not None else None, self._mask)

    def _has_said_the_end(self, counter: LineCounter, marks: LogMarks) -> bool:
        """Pass on what the marks said; whether it was the end."""
        if marks.changes > self._told_changes:
            self._told_changes = marks.changes
            self._sign(FilesChanged(marks.changes))
        for sign in (marks.checked_out, marks.waits, marks.begun):
            if sign is not None and sign not in self._told:
                self._told.add(sign)
                self._sign(sign)
        partials = counter.partials()
        told = tuple((line.n, line.line) for line in partials)
        if told != self._told_partials:
            self._told_partials = told
            self._sign(PartialLines(partials))
        if marks.end is None:
            return False
        self.end = marks.end
        self.exit_code = marks.end.exit_code
        self._sign(marks.end)
        return True

    def _sign(self, sign: Sign) -> None:
        if self._on_sign is not None:
            self._on_sign(sign)

    def _read(self, counter: LineCounter, pieces: Pieces) -> list[LogLine]:
        if self._enough():
            counter.skip(pieces)
            return []
        return self._take(counter.feed(pieces))

    def _take(self, lines: list[LogLine]) -> list[LogLine]:
        """Those of the ordered lines that were not delivered before."""
        if lines and lines[0].n <= self._delivered:
            lines = [line for line in lines if line.n > self._delivered]
        if lines:
            self._delivered = lines[-1].n
        return lines

    async def _missing(self, streamed: LineCounter) -> AsyncGenerator[list[LogLine], None]:
        """The end of the log: lines of a snapshot that were not delivered, and the last line without a line end."""
        snapshot = await self._toolbox.snapshot(self._session, self._command, limit_bytes=SNAPSHOT_BYTES)
        counter = self._counter()
        if snapshot is not None:
            for pieces in _rounds(unmarked(snapshot.get("output") or "")):
                if lines := self._read(counter, pieces):
                    yield lines
                await asyncio.sleep(0)  # a million lines at once would hold up every stream, or job, of the process
            if counter.marks is not None:
                self._has_said_the_end(counter, counter.marks)
        else:
            # Delivered at once: if this connection is cut later, its lines are not received again.
            async with aclosing(self._connection(counter)) as again:
                async for lines in again:
                    yield lines
        if not self._enough() and (rest := [*self._take(counter.finish()), *self._take(streamed.finish())]):
            yield rest

    async def _has_ended(self) -> bool:
        self.exit_code = (await self._toolbox.command(self._session, self._command)).exit_code
        return self.exit_code is not None

    async def _wait(self, error: SandboxError) -> None:
        delay = self._backoff.next_s(error)
        log.info("the log of %s/%s was cut after line %d", self._session, self._command, self._delivered)
        if self._on_trouble is not None:
            self._on_trouble(error, delay)
        await asyncio.sleep(delay)
