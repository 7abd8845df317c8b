"""`/sse`: spec 000's streams of a sandbox's status, its sessions, and the log of a command.

Values come from the polls (`jobs.py`) and pushes over the sandbox's channels, lines from the relay; those of a
finished execution from its archive, once its sandbox is gone. The view checks, subscribes and hands over.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from sandboxes.api.sse_params import SSE, Wanted, read_wanted
from sandboxes.channels import sessions_channel, status_channel
from sandboxes.errors import SandboxMissing, SandboxUnavailable
from sandboxes.models import Sandbox, Subscription, Watching
from sandboxes.services.sandbox_state import sessions_data, status_data, trouble_data
from sandboxes.watch.first_look import command_exists, log_reader, sandbox_seen, sessions_seen
from sandboxes.watch.subscription_tracker import Watch, get_keeper
from taskhub.api.stream_view import had_everything, last_event_id, running_hub, ticketed
from taskhub.auth.sandbox_access import hidden_sandboxes, tasks_executed_in
from taskhub.errors import Invalid
from taskhub.events.channels import TASKS
from taskhub.events.ephemeral import LiveReader
from taskhub.events.filters import Filters
from taskhub.events.frames import encode_named, encode_named_farewell, encode_within_limit
from taskhub.events.open_streams import Slot
from taskhub.events.stream import EventStream
from taskhub.executions.log_origin import archived_execution
from taskhub.executions.log_relay import Viewer, get_relay
from taskhub.executions.log_stream import SEEN_TO_THE_END, archived_frames
from taskhub.executions.shared_log import LogEnd, Trouble
from taskhub.models import Execution
from taskhub.roles import Caller, viewer_of

LATE_AFTER: Final = 3
"""Periods without an update after which viewers are told that updates are late."""
_POSITION: Final = re.compile(rf"(.{{1,200}}):(\d{{1,18}})({SEEN_TO_THE_END})?\Z", re.ASCII)


@ticketed(SSE)
async def sse(request: HttpRequest, caller: Caller, slot: Slot) -> HttpResponse:
    wanted = read_wanted(request.GET)
    archived = await _archived(wanted) if wanted.kind == Watching.LOGS else None
    origin = Origin(await _guard_private(caller, slot, wanted, archived), archived)
    open_stream = _log_stream if wanted.kind == Watching.LOGS else _value_stream
    return await open_stream(request, caller, slot, wanted, origin)


class Origin(NamedTuple):
    """The tasks that were executed in the sandbox; the finished execution whose log is asked for."""

    tasks: set[str]
    archived: Execution | None


async def _archived(wanted: Wanted) -> Execution | None:
    return await running_hub().reader.run(archived_execution, wanted.log_key)


async def _guard_private(caller: Caller, slot: Slot, wanted: Wanted, archived: Execution | None) -> set[str]:
    """Hide sandboxes in which a private task runs, also if it becomes private later.

    A sandbox that is gone is missing, unless an execution in it has an archived log. Returns the tasks that were
    executed there; the stream stays open while the caller may see all tasks of this set, which the subscription tracker
    keeps up to date. Raises SandboxMissing.
    """
    viewer = viewer_of(caller)
    if viewer is None:
        return set()
    hub = running_hub()
    names = {wanted.sandbox_id}
    try:  # requested by its name, it is found by its id
        sandbox = await sandbox_seen(wanted.sandbox_id)
        names |= {sandbox.pk, sandbox.name} - {""}
    except SandboxMissing:
        if archived is None:
            raise
    except SandboxUnavailable:
        pass
    if archived is not None:
        names |= {archived.sandbox_id, archived.session_name}
    feed = await hub.feed(TASKS)
    tasks = set(await hub.reader.run(tasks_executed_in, names))
    eyes, since = Filters(viewer=viewer), feed.head
    slot.may_go_on = lambda: all(eyes.may_follow(task_id, feed.privacy, since=since) for task_id in tasks)
    hidden = await hub.reader.run(partial(hidden_sandboxes, user=caller, names=names))
    if hidden or not slot.may_go_on():
        raise SandboxMissing
    return tasks


def _subscribe(request: HttpRequest, caller: Caller, slot: Slot, wanted: Wanted, tasks: set[str]) -> Watch:
    subscription = Subscription(
        user=caller if caller.is_authenticated else None,
        user_name=caller.get_username(),
        address=request.META.get("REMOTE_ADDR", ""),
        kind=wanted.kind,
        sandbox_id=wanted.sandbox_id,
        session_id=wanted.session_id,
        command_id=wanted.command_id,
        opened_at=timezone.now(),
    )
    return get_keeper().open(subscription, slot, tasks)


def _connected(wanted: Wanted, watch: Watch) -> bytes:
    data = {**wanted.about, "eventType": wanted.kind.value, "subscriptionId": str(watch.subscription.pk)}
    return encode_named("connected", data)


# --- Values: status and sessions ----------------------------------------------------------------------


async def _value_stream(
    request: HttpRequest, caller: Caller, slot: Slot, wanted: Wanted, origin: Origin
) -> HttpResponse:
    """The latest value first, then each update. The stream opens even if Daytona does not answer now."""
    trouble = b""
    latest = b""
    # Before the first look, so that no value is missed.
    reader = _join(wanted, slot)
    try:
        sandbox = await sandbox_seen(wanted.sandbox_id)
        if sandbox.pk != wanted.sandbox_id:
            wanted = wanted._replace(sandbox_id=sandbox.pk)  # it was requested by its name
            reader = _join(wanted, slot)
        latest = await _latest(sandbox, wanted)
    except SandboxUnavailable as error:
        trouble = _trouble(wanted, error.code, error.message, _period_s(wanted))
    watch = _subscribe(request, caller, slot, wanted, origin.tasks)
    watch.events = 2
    return EventStream(
        _values(reader, watch, wanted),
        slot=slot,
        channel=_channel(wanted),
        greeting=_connected(wanted, watch) + latest + trouble,
        farewell=partial(encode_named_farewell, about=wanted.about),
    )


def _join(wanted: Wanted, slot: Slot) -> LiveReader:
    reader = running_hub().join_live(_channel(wanted))
    slot.at_release(reader.leave)
    return reader


def _channel(wanted: Wanted) -> str:
    name = status_channel if wanted.kind == Watching.STATUS else sessions_channel
    return name(wanted.sandbox_id)


def _period_s(wanted: Wanted) -> float:
    return float(settings.SANDBOX_STATUS_S if wanted.kind == Watching.STATUS else settings.SANDBOX_SESSIONS_S)


async def _latest(sandbox: Sandbox, wanted: Wanted) -> bytes:
    if wanted.kind == Watching.STATUS:
        return encode_within_limit(status_data(sandbox, changed=False, source="poll"), event="sandbox-status")
    sandbox = await sessions_seen(sandbox)
    return encode_within_limit(sessions_data(sandbox, changed=False, source="poll"), event="sessions-update")


def _trouble(wanted: Wanted, code: str, message: str, retry_s: float) -> bytes:
    return encode_within_limit({**wanted.about, **trouble_data(code, message, retry_s)}, event="error")


async def _values(reader: LiveReader, watch: Watch, wanted: Wanted) -> AsyncGenerator[bytes, None]:
    period_s = _period_s(wanted)
    while True:
        try:
            async with asyncio.timeout(LATE_AFTER * period_s):
                frames = await reader.next()
        except TimeoutError:
            words = "Daytona has not reported the sandbox in time; the stream stays open."
            yield _trouble(wanted, "updates_late", words, period_s)
            continue
        watch.events += len(frames)
        yield b"".join([frame.body for frame in frames])
        if any(frame.name == "disconnected" for frame in frames):
            return


# --- Logs -----------------------------------------------------------------------------------------------


async def _log_stream(request: HttpRequest, caller: Caller, slot: Slot, wanted: Wanted, origin: Origin) -> HttpResponse:
    after, seen_to_the_end = _position(last_event_id(request), wanted)
    if seen_to_the_end:
        return had_everything()
    archived = origin.archived
    in_sandbox = await _is_in_sandbox(wanted, archived)
    watch = _subscribe(request, caller, slot, wanted, origin.tasks)
    watch.events = 1
    return EventStream(
        _lines(wanted, after, watch) if in_sandbox or archived is None else _kept_lines(archived, wanted, after, watch),
        slot=slot,
        channel=f"sandbox-{wanted.sandbox_id}-logs",
        greeting=_connected(wanted, watch),
        farewell=partial(encode_named_farewell, about=wanted.about),
    )


async def _is_in_sandbox(wanted: Wanted, archived: Execution | None) -> bool:
    """Whether the log is read from the sandbox. Raises SandboxMissing where it is there no more, and not archived."""
    if archived is not None and archived.released_at is not None:
        return False
    if get_relay().is_open(wanted.log_key):
        return True
    try:
        await command_exists(wanted.log_key)
    except SandboxMissing:
        if archived is None:
            raise
        return False
    except SandboxUnavailable:
        return archived is None  # the relay retries, and tells its viewers
    return True


def _position(last_id: str, wanted: Wanted) -> tuple[int, bool]:
    """The client's last line, and whether it has received the end. Raises Invalid for an id of another stream."""
    if not last_id:
        return 0, False
    found = _POSITION.match(last_id)
    if found is None or found[1] != wanted.command_id:
        raise Invalid("Last-Event-ID is not an id of this stream.", code="last_event_id_malformed")
    return int(found[2]), found[3] is not None


async def _lines(wanted: Wanted, after: int, watch: Watch) -> AsyncGenerator[bytes, None]:
    key = wanted.log_key
    with get_relay().watch(key, log_reader(key)) as shared:
        viewer = Viewer(shared, name=key.command_id, after=after, about=wanted.about)
        try:
            async with aclosing(viewer.items(idle_s=settings.TASKHUB_LOG_IDLE_S)) as items:
                async for item in items:
                    if isinstance(item, bytes):
                        watch.events += item.count(b"\n\n")
                        yield item
                    elif isinstance(item, Trouble):
                        yield _trouble(wanted, item.error.code, item.error.message, item.retry_s)
                    elif item.error is not None and (archived := await _archived(wanted)) is not None:
                        async with aclosing(_kept_lines(archived, wanted, viewer.after, watch)) as rest:
                            async for frames in rest:
                                yield frames
                    else:
                        yield _end(item, wanted, lines=shared.lines, after=viewer.after)
        except TimeoutError:
            # A command whose shell has died never ends. Who knows better comes back with the last id.
            yield encode_named("disconnected", {**wanted.about, "reason": "idle"})


async def _kept_lines(archived: Execution, wanted: Wanted, after: int, watch: Watch) -> AsyncGenerator[bytes, None]:
    kept = archived_frames(archived, after, name=wanted.command_id, about=wanted.about)
    async with aclosing(kept) as pages:
        async for frames, n in pages:
            after = n
            watch.events += frames.count(b"\n\n")
            yield frames
    yield _end(LogEnd(exit_code=archived.exit_code), wanted, lines=max(after, archived.log_lines or 0), after=after)


def _end(end: LogEnd, wanted: Wanted, *, lines: int, after: int) -> bytes:
    data: dict[str, Any]
    if end.error is not None:
        name, reason, place = "log-error", "log_error", f"{after}"
        data = {**wanted.about, "code": end.error.code, "message": end.error.message}
    else:
        name, reason, place = "log-complete", "log_complete", f"{lines}{SEEN_TO_THE_END}"
        data = {**wanted.about, "exit_code": end.exit_code, "lines": lines}
    last = encode_named(name, data, event_id=f"{wanted.command_id}:{place}")
    return last + encode_named("disconnected", {**wanted.about, "reason": reason})
