"""First look: a web process's own request to Daytona, for the first viewer of a sandbox or log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from datetime import timedelta
from typing import Any, Final

from django.utils import timezone

from sandboxes.backoff import Backoff
from sandboxes.errors import SandboxError, SandboxMissing, SandboxUnavailable
from sandboxes.gateway import Document, open_gateway
from sandboxes.log_follower import Follower
from sandboxes.models import DESTROYED, Sandbox
from sandboxes.services.sandbox_state import SURELY_GONE_AFTER, sandbox_first_seen, sessions_first_seen
from sandboxes.watch.polling import SingleFlight, cause, inside, sessions_of
from taskhub.events.hub import get_hub
from taskhub.executions.executor import PartialLines
from taskhub.executions.log_origin import log_origin
from taskhub.executions.log_relay import LogKey, Read
from taskhub.executions.log_times import LogTimes, read_times
from taskhub.executions.shared_log import SharedLog
from taskhub.lib.per_loop import PerLoop

FRESH: Final = timedelta(seconds=15)
"""Rows that a poll maintains are never older."""

_flights: Final = PerLoop(SingleFlight)


async def _once(key: tuple[str, ...], ask: Callable[[], Coroutine[Any, Any, Sandbox]]) -> Sandbox:
    """Concurrent callers with the same key share one request."""
    return await _flights.get().run(key, ask)


async def sandbox_seen(id_or_name: str) -> Sandbox:
    """The sandbox, at most 15 s old. Raises SandboxError."""
    row = await get_hub().reader.run(_row, id_or_name)
    if row is None or row.seen_at < timezone.now() - (FRESH if row.state != DESTROYED else SURELY_GONE_AFTER):
        row = await _once(("sandbox", id_or_name), lambda: _look_at(id_or_name))
    if row.state == DESTROYED:
        raise SandboxMissing
    return row


async def sessions_seen(sandbox: Sandbox) -> Sandbox:
    """The sandbox with its sessions, at most 15 s old. Raises SandboxError."""
    if sandbox.sessions_seen_at is not None and sandbox.sessions_seen_at > timezone.now() - FRESH:
        return sandbox
    return await _once(("sessions", sandbox.pk), lambda: _look_into(sandbox))


async def command_exists(key: LogKey) -> None:
    """Raises SandboxMissing, for the sandbox, the session or the command."""
    await _once(("command", *key), lambda: _look_for(key))


async def _look_at(id_or_name: str) -> Sandbox:
    async with open_gateway(watching=True) as gateway:
        document = await gateway.document(id_or_name)
    return await get_hub().reader.run(_first_seen, document)


async def _look_into(sandbox: Sandbox) -> Sandbox:
    async with open_gateway(watching=True) as gateway:
        sessions = await sessions_of(gateway, sandbox)
    return await get_hub().reader.run(_sessions_first_seen, sandbox, sessions)


async def _look_for(key: LogKey) -> Sandbox:
    sandbox = await sandbox_seen(key.sandbox_id)
    async with open_gateway(watching=True) as gateway:
        toolbox = inside(gateway, sandbox)
        try:
            await toolbox.command(key.session_name, key.command_id)
        except SandboxMissing as error:
            # Daytona does not say which of the two is unknown.
            await toolbox.session_document(key.session_name)
            raise await cause(gateway, sandbox.pk, error) from error
        except SandboxError as error:
            raise await cause(gateway, sandbox.pk, error) from error
        return sandbox


def log_reader(key: LogKey) -> Read:
    """The function that reads a command's log for all its viewers."""

    async def read(shared: SharedLog) -> int | None:
        async with open_gateway(watching=True) as gateway:
            toolbox = inside(gateway, await _sandbox_in_time(key.sandbox_id, shared))
            try:
                of = await get_hub().reader.run(log_origin, key.session_name)
                if of.is_released:
                    raise SandboxMissing(what="command")
                times = await read_times(of.execution_id) if of.execution_id else LogTimes()
                follower = Follower(
                    toolbox,
                    key.session_name,
                    key.command_id,
                    shared.report_trouble,
                    tokens=of.tokens,
                    mask=of.mask,
                    on_sign=lambda sign: shared.show_partial(sign.lines) if isinstance(sign, PartialLines) else None,
                )
                async with aclosing(follower.lines()) as batches:
                    async for batch in batches:
                        shared.append(times.stamp(batch))
            except SandboxError as error:
                raise await cause(gateway, key.sandbox_id, error) from error
            return follower.exit_code

    return read


async def _sandbox_in_time(sandbox_id: str, shared: SharedLog) -> Sandbox:
    """The sandbox, as soon as Daytona answers."""
    backoff = Backoff()
    while True:
        try:
            return await sandbox_seen(sandbox_id)
        except SandboxUnavailable as error:
            delay = backoff.next_s(error)
            shared.report_trouble(error, delay)
            await asyncio.sleep(delay)


def _row(sandbox_id: str) -> Sandbox | None:
    return Sandbox.objects.filter(pk=sandbox_id).first()


def _first_seen(document: Document) -> Sandbox:
    return sandbox_first_seen(document=document)


def _sessions_first_seen(sandbox: Sandbox, sessions: list[Document]) -> Sandbox:
    return sessions_first_seen(sandbox=sandbox, sessions=sessions)
