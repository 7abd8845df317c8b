"""An execution's log: as a stream while it runs and afterwards, and its last lines.

A line's SSE id is `<execution id>:<n>`, its position in the log. Nothing is stored for the stream: the executor
replays a running log from its beginning, the archive holds a finished one, and both number their lines alike. So any
process can resume any stream.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from itertools import islice
from typing import Any, Final
from uuid import UUID

from django.utils import timezone

from taskhub import archive
from taskhub.events.channels import TASKS
from taskhub.events.frames import Filters, encode_json
from taskhub.events.hub import get_hub
from taskhub.events.stream import Farewell
from taskhub.executors import get_executor
from taskhub.executors.base import ExecutorError, LogLine, Place
from taskhub.models import Execution
from taskhub.services.executions import execution_place
from taskhub.timestamps import iso

log = logging.getLogger(__name__)

_PAGE: Final = 500
_RETRY_S: Final = 2.0


async def log_tail(execution: Execution, count: int) -> list[LogLine]:
    """The last `count` lines of a running or finished execution. Raises ExecutorError."""
    if not execution.is_active:
        return await asyncio.to_thread(archive.tail, execution.log_file, count)
    if not execution.command_id:
        return []
    return await archive.recent(get_executor().follow_log(execution_place(execution)), count)


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
    lines = archive.read(execution.log_file, after=after)
    while page := await asyncio.to_thread(_page, lines):
        after = page[-1].n
        yield _encode_lines(page, execution)
    yield _frame(
        "log-complete",
        {
            "exit_code": execution.exit_code,
            "lines": after if execution.log_lines is None else execution.log_lines,
            "status": execution.status,
            "truncated": execution.log_truncated,
        },
        execution,
        after,
    )


async def _live(execution: Execution, after: int) -> AsyncGenerator[tuple[bytes, int], None]:
    """Frames of the running log with the number of their last line; ends with the log, or when it is gone."""
    place = execution_place(execution)
    while True:
        try:
            async with aclosing(_lines_after(place, after)) as batches:
                async for batch in batches:
                    after = batch[-1].n
                    yield _encode_lines(batch, execution), after
        except ExecutorError as error:
            data = {"code": error.code, "message": error.message}
            if error.permanent:
                yield _frame("log-error", data, execution, after), after
                return
            yield _frame("error", {**data, "retry_in_ms": int(_RETRY_S * 1000)}, execution, after), after
            await asyncio.sleep(_RETRY_S)
        else:
            return


async def _lines_after(place: Place, after: int) -> AsyncGenerator[list[LogLine], None]:
    batches = archive.until_limit(get_executor().follow_log(place))
    async with aclosing(batches) as source:
        async for batch in source:
            if wanted := [line for line in batch if line.n > after]:
                yield wanted


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


def _encode_lines(lines: list[LogLine], execution: Execution) -> bytes:
    return b"".join(
        [
            encode_json(
                {"stream": line.stream, "line": line.line, "n": line.n, "timestamp": iso(line.timestamp)},
                event_id=f"{execution.pk}:{line.n}",
                event="log",
            )
            for line in lines
        ]
    )


def _frame(event: str, data: dict[str, Any], execution: Execution, n: int) -> bytes:
    return encode_json({**data, "timestamp": iso(timezone.now())}, event_id=f"{execution.pk}:{n}", event=event)


def encode_log_farewell(reason: Farewell, reconnect_in_ms: int) -> bytes:
    """The last words when the server ends the stream: a named event, like the others of this stream."""
    data = {"reason": reason, "reconnect_in_ms": reconnect_in_ms, "timestamp": iso(timezone.now())}
    return encode_json(data, event="disconnected")
