"""An execution's log: as a stream while it runs and afterwards, and its last lines.

A line's SSE id is `<execution id>:<n>`, its position in the log. The relay replays a running log from its beginning,
the archive holds a finished one, and both number their lines alike. So any process can resume any stream.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from itertools import islice
from typing import Any, Final
from uuid import UUID

from taskhub.events.channels import TASKS
from taskhub.events.filters import Filters
from taskhub.events.frames import encode_json, encode_named
from taskhub.events.hub import get_hub
from taskhub.events.wire_json import split_text
from taskhub.executions import get_executor, log_archive
from taskhub.executions.executor import (
    SPLIT_MARK,
    ExecutorError,
    LogLine,
    PartialLines,
    Place,
    ScriptEnd,
    Sign,
)
from taskhub.executions.log_relay import LogKey, Read, Viewer, get_relay
from taskhub.executions.log_times import read_times
from taskhub.executions.place import execution_place
from taskhub.executions.shared_log import SharedLog, Trouble
from taskhub.lib.storage_threads import on_storage_thread
from taskhub.lib.timestamps import iso
from taskhub.models import Execution

log = logging.getLogger(__name__)

SEEN_TO_THE_END: Final = ":end"
"""What the id of `log-complete` ends with: a client that comes back with it has had everything."""
_PAGE: Final = 500
_PAUSE_S: Final = 0.5
_CONNECT_S: Final = 2.0
_READ_S: Final = 3.0
_AGAIN_S: Final = 30.0
"""For a log that was read as far before, in this process."""


@asynccontextmanager
async def shared_log(execution: Execution, *, text_bytes: int | None = None) -> AsyncIterator[SharedLog]:
    """A running execution's log as far as it reaches now, or until it has this text. Raises ExecutorError."""
    place = execution_place(execution)
    with get_relay().watch(_key(place), _reader(place)) as shared:
        await _until_pause(shared, text_bytes)
        yield shared


async def _until_pause(shared: SharedLog, text_bytes: int | None) -> None:
    """A log does not say how far it reaches now: what comes until it pauses for 0.5 s is taken for all.

    The connection has 2 s to bring the first line, and a log that never pauses has 3 s. That is waited for once, for
    all readers of a log that has lines: it is followed for as long as they come back within `LINGER_S`.
    Raises ExecutorError.
    """
    until = time.monotonic() + (_READ_S if text_bytes is None else _AGAIN_S)
    while shared.end is None and not _suffices(shared, text_bytes) and (left := until - time.monotonic()) > 0:
        lines = shared.lines
        try:
            async with asyncio.timeout(min(left, _PAUSE_S if lines else _CONNECT_S)):
                await shared.moved.wait()
        except TimeoutError:
            break
    if shared.end is not None and shared.end.error is not None and not shared.lines:
        raise shared.end.error
    if shared.trouble is not None and not shared.lines:
        raise shared.trouble.error
    if shared.lines and text_bytes is None and not shared.has_caught_up:
        shared.has_caught_up = True
        shared.moved.send()


def _suffices(shared: SharedLog, text_bytes: int | None) -> bool:
    return shared.has_caught_up if text_bytes is None else shared.text_size >= text_bytes


async def log_source(execution: Execution, *, after: int = 0) -> AsyncGenerator[bytes, None]:
    """`connected`, a `log` for every line above `after`, and `log-complete` with the exit code.

    An error of the sandbox service is an `error` event and another try; a log that is gone for good is `log-error`.
    """
    yield _frame("connected", {"execution_id": str(execution.pk), "status": execution.status}, execution, after)
    execution = await _until(execution, started=True)
    if execution.is_active:
        async with aclosing(_live(execution, after)) as frames:
            async for frame, n in frames:
                after = max(after, n)
                yield frame
        execution = await _until(execution, started=False)
    # Also after a live log: whatever it could not bring, the archive has.
    async with aclosing(archived_frames(execution, after, name=str(execution.pk))) as archived:
        async for page, n in archived:
            after = n
            yield page
    yield _frame(
        "log-complete",
        {
            "exit_code": execution.exit_code,
            "lines": after if execution.log_lines is None else execution.log_lines,
            "status": execution.status,
            "truncated": execution.log_truncated,
        },
        execution,
        f"{after}{SEEN_TO_THE_END}",
    )


async def archived_frames(
    execution: Execution, after: int, *, name: str, about: dict[str, str] | None = None
) -> AsyncGenerator[tuple[bytes, int], None]:
    """Frames of the archived lines above `after`, with the number of their last line.

    `name` stands before the number in the SSE ids; `about` are the first fields of every line's data.
    """
    lines = log_archive.read(execution.log_file, after=after)
    while page := await on_storage_thread(_page, lines):
        yield b"".join([_encode_line(line, name, about or {}) for line in page]), page[-1].n


async def _live(execution: Execution, after: int) -> AsyncGenerator[tuple[bytes, int], None]:
    """Frames of the running log with the number of their last line; ends with the log, or when it is gone."""
    place = execution_place(execution)
    with get_relay().watch(_key(place), _reader(place)) as shared:
        viewer = Viewer(shared, name=str(execution.pk), after=after, limited=True)
        async with aclosing(viewer.items()) as items:
            async for item in items:
                after = viewer.after
                if isinstance(item, bytes):
                    yield item, after
                elif isinstance(item, Trouble):
                    data = {**_said(item.error), "retry_in_ms": int(item.retry_s * 1000)}
                    yield _frame("error", data, execution, after), after
                elif item.error is not None:
                    yield _frame("log-error", _said(item.error), execution, after), after


def _said(error: ExecutorError) -> dict[str, Any]:
    return {"code": error.code, "message": error.message}


def _key(place: Place) -> LogKey:
    return LogKey(place.sandbox_id, place.session_name, place.command_id)


def _reader(place: Place) -> Read:
    """Reads the log of a running script, for all who watch it."""

    async def read(shared: SharedLog) -> int | None:
        executor = get_executor()
        end: ScriptEnd | None = None

        def hear(sign: Sign) -> None:
            nonlocal end
            if isinstance(sign, ScriptEnd):
                end = sign
            elif isinstance(sign, PartialLines):
                shared.show_partial(sign.lines)

        times = await read_times(place.execution_id)
        source = executor.follow_log(place, on_trouble=shared.report_trouble, on_sign=hear)
        async with aclosing(source) as batches:
            async for batch in batches:
                shared.append(times.stamp(batch))
        if end is not None:
            return end.exit_code
        (seen,) = await executor.observe([place])
        return seen.exit_code

    return read


async def _until(execution: Execution, *, started: bool) -> Execution:
    """The execution once it has started (or ended), or, with `started=False`, once it has ended.

    Events say when to look again; the number from which they are followed is taken before the row is read, so that
    none can fall between.
    """
    hub = get_hub()
    feed = await hub.feed(TASKS)
    cursor = feed.head
    execution = await hub.reader.run(_fetch, execution.pk)
    wanted = Filters(types=frozenset({"execution_event", "stream-reset"}), task_id=str(execution.task_id))
    if _reached(execution, started=started):
        return execution
    async with aclosing(feed.follow(cursor, wanted)) as events:
        async for _ in events:
            execution = await hub.reader.run(_fetch, execution.pk)
            if _reached(execution, started=started):
                break
    return execution


def _reached(execution: Execution, *, started: bool) -> bool:
    return not execution.is_active or (started and bool(execution.command_id))


def _fetch(execution_id: UUID) -> Execution:
    return Execution.objects.defer("script", "env").get(pk=execution_id)


def _page(lines: Iterator[LogLine]) -> list[LogLine]:
    return list(islice(lines, _PAGE))


def _encode_line(line: LogLine, name: str, about: dict[str, str]) -> bytes:
    """The line's frame; of a line that was archived before lines were split by bytes, several with one number.

    The last of them alone has the id, so a client that is cut off between them gets the whole line again.
    """
    # A part that was split before is as long as a line may be, without its mark.
    mark = SPLIT_MARK if line.line.endswith(SPLIT_MARK) else ""
    *begun, last = split_text(line.line.removesuffix(mark))
    last += mark
    data = {**about, "stream": line.stream, "line": last, "n": line.n, "timestamp": iso(line.timestamp)}
    parts = [encode_json({**data, "line": part + SPLIT_MARK}, event="log") for part in begun]
    return b"".join([*parts, encode_json(data, event_id=f"{name}:{line.n}", event="log")])


def _frame(event: str, data: dict[str, Any], execution: Execution, position: int | str) -> bytes:
    return encode_named(event, data, event_id=f"{execution.pk}:{position}")
