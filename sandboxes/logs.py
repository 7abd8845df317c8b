"""A command's log as numbered lines, over connections that may be cut.

Daytona replays a log from its first byte on every connection and has no offset, so a line's number is its place in the
replay: after a cut we connect again and leave out what was delivered.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from django.utils import timezone

from sandboxes.errors import SandboxUnavailable
from sandboxes.gateway import Gateway, Sandbox, Stream
from taskhub.executors.base import LogLine

log = logging.getLogger(__name__)

LINE_BYTES: Final = 64 * 1024
SPLIT_MARK: Final = " [TaskHub: the line goes on]"
_BACKOFF_S: Final = (0.2, 5.0)


class LineCounter:
    """Numbered lines from pieces of two streams. A line ends with LF; one longer than 64 KiB is split, with a mark."""

    def __init__(self) -> None:
        self._rest: dict[Stream, str] = {"stdout": "", "stderr": ""}
        self.n = 0

    def feed(self, stream: Stream, text: str) -> list[LogLine]:
        lines = (self._rest[stream] + text).split("\n")
        self._rest[stream] = lines.pop()
        found = [part for line in lines for part in _split(line)]
        while len(self._rest[stream]) > LINE_BYTES:
            found.append(self._rest[stream][:LINE_BYTES] + SPLIT_MARK)
            self._rest[stream] = self._rest[stream][LINE_BYTES:]
        return self._number(stream, found)

    def finish(self) -> list[LogLine]:
        """What came without a line end."""
        found: list[LogLine] = []
        for stream, rest in self._rest.items():
            if rest:
                found += self._number(stream, [rest])
        self._rest = {"stdout": "", "stderr": ""}
        return found

    def _number(self, stream: Stream, texts: list[str]) -> list[LogLine]:
        now = timezone.now()
        first = self.n + 1
        self.n += len(texts)
        return [LogLine(n, stream, text, now) for n, text in enumerate(texts, start=first)]


def _split(line: str) -> list[str]:
    if len(line) <= LINE_BYTES:
        return [line]
    parts = [line[start : start + LINE_BYTES] for start in range(0, len(line), LINE_BYTES)]
    return [part + SPLIT_MARK for part in parts[:-1]] + parts[-1:]


async def follow_lines(
    gateway: Gateway, sandbox: Sandbox, session: str, command: str
) -> AsyncGenerator[list[LogLine], None]:
    """The log in batches of lines, each line once, until the command has ended.

    Raises SandboxMissing where the command or its session is gone.
    """
    delivered = 0
    delay = _BACKOFF_S[0]
    while True:
        counter = LineCounter()
        try:
            async with aclosing(gateway.follow(sandbox, session, command)) as pieces:
                async for stream, text in pieces:
                    lines = counter.feed(stream, text)
                    if lines and counter.n > delivered:
                        yield [line for line in lines if line.n > delivered]
                        delivered, delay = counter.n, _BACKOFF_S[0]
            # Daytona closes about a second after the end; only then is the rest a line of its own.
            if (await gateway.command_get(sandbox, session, command)).exit_code is not None:
                rest = [line for line in counter.finish() if line.n > delivered]
                if rest:
                    yield rest
                return
        except SandboxUnavailable as error:
            log.info("the log of %s/%s was cut after line %d", session, command, delivered)
            delay = max(delay, error.retry_after_s or 0)
        await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 - jitter, not secrecy
        delay = min(delay * 2, _BACKOFF_S[1])
