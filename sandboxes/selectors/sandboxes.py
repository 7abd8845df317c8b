"""Daytona's sandboxes, sessions, commands and logs. Reading keeps no sandbox awake."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.contrib.auth.models import AnonymousUser, User

from sandboxes.errors import SandboxesOff, SandboxMissing, SandboxRefused
from sandboxes.gateway import Document, Page, Stream, open_gateway
from sandboxes.log_follower import LineCounter
from sandboxes.log_marks import LogMarks
from sandboxes.services.sandbox_state import shown
from taskhub.auth.sandbox_access import hidden_sandboxes
from taskhub.errors import NotFound, TooLarge
from taskhub.executions.log_origin import LogOrigin, log_origin
from taskhub.web.thread_pool import on_web_thread, with_database

if TYPE_CHECKING:
    from sandboxes.gateway import Toolbox

SNAPSHOT_BYTES: Final = 64 * 1024 * 1024
STREAMS: Final[tuple[Stream, ...]] = ("stdout", "stderr")

_T = TypeVar("_T")
Reader = User | AnonymousUser


async def _page(cursor: str | None, limit: int) -> Page:
    async with open_gateway(watching=True) as gateway:
        return await gateway.page(cursor, limit=limit)


async def sandbox_page_for(
    *, user: Reader, cursor: str | None, limit: int, read: Callable[[str | None, int], Awaitable[Page]] = _page
) -> Page:
    """A page of the account's sandboxes, by `read`. Raises NotFound for a bad cursor, SandboxError."""
    try:
        page = await read(cursor, limit)
    except SandboxesOff:
        raise
    except SandboxRefused:
        if not cursor:
            raise
        raise NotFound("Invalid cursor: take it from nextCursor of a page.") from None
    names = {name for document in page.items for name in names_of(document)}
    hidden = await with_database(partial(hidden_sandboxes, user=user, names=names))
    return Page([shown(document) for document in page.items if not names_of(document) & hidden], page.next_cursor)


async def sandbox_get_for(*, user: Reader, sandbox_id: str) -> Document:
    """Raises SandboxError."""
    async with open_gateway(watching=True) as gateway:
        document = await gateway.document(sandbox_id)
    await _guard_private(user, document)
    return shown(document)


async def build_log(*, sandbox_id: str, follow: bool) -> AsyncGenerator[bytes, None]:
    """The log of the build of its image, from the first byte; with `follow` as it grows. For operators.

    Raises SandboxError, before the first byte.
    """
    async with (
        open_gateway(watching=True) as gateway,
        aclosing(gateway.build_log(sandbox_id, follow=follow)) as chunks,
    ):
        async for chunk in chunks:
            yield chunk


async def session_list_for(*, user: Reader, sandbox_id: str) -> list[Document]:
    """Raises SandboxError."""
    return await _look_inside(user, sandbox_id, lambda toolbox: toolbox.session_documents())


async def session_get_for(*, user: Reader, sandbox_id: str, session_id: str) -> Document:
    """Raises SandboxError."""
    return await _look_inside(user, sandbox_id, lambda toolbox: toolbox.session_document(session_id))


async def command_get_for(
    *,
    user: Reader,
    sandbox_id: str,
    session_id: str,
    command_id: str,
) -> Document:
    """`{"id", "command", "exitCode"}`; `exitCode` is null while it runs. Raises SandboxError."""
    command = await _look_inside(user, sandbox_id, lambda toolbox: toolbox.command(session_id, command_id))
    return {"id": command.id, "command": command.text, "exitCode": command.exit_code}


async def log_snapshot_for(
    *,
    user: Reader,
    sandbox_id: str,
    session_id: str,
    command_id: str,
) -> Document:
    """`{"stdout", "stderr"}` as written so far, as lines where it is an execution's. Raises SandboxError, TooLarge."""
    origin = await with_database(log_origin, session_id)
    if origin.is_released:
        raise SandboxMissing(what="command")
    snapshot = await _look_inside(
        user, sandbox_id, lambda toolbox: toolbox.snapshot(session_id, command_id, limit_bytes=SNAPSHOT_BYTES)
    )
    if snapshot is None:
        raise TooLarge("The log is too long for one response; follow it over /sse.", code="log_too_long")
    texts: Document = {stream: snapshot.get(stream) or "" for stream in STREAMS}
    if origin.tokens is None and origin.mask is None:
        return texts
    return await on_web_thread(_lines, origin, texts)


def _lines(origin: LogOrigin, texts: Document) -> Document:
    """The same without what must not be shown; it takes seconds for a long log."""
    counter = LineCounter(LogMarks(origin.tokens) if origin.tokens else None, origin.mask)
    lines = [line for stream in STREAMS for line in counter.feed([(stream, texts[stream])])] + counter.finish()
    return {stream: "".join(f"{line.line}\n" for line in lines if line.stream == stream) for stream in STREAMS}


async def _look_inside(user: Reader, sandbox_id: str, request: Callable[[Toolbox], Awaitable[_T]]) -> _T:
    async with open_gateway(watching=True) as gateway:
        document: dict[str, Any] = await gateway.document(sandbox_id)
        await _guard_private(user, document)
        return await request(gateway.toolbox_of(document))


async def _guard_private(user: Reader, document: Document) -> None:
    """Hide sandboxes in which a private task of another account runs. Raises SandboxMissing."""
    if await with_database(partial(hidden_sandboxes, user=user, names=names_of(document))):
        raise SandboxMissing


def names_of(document: Document) -> set[str]:
    """The id and the name by which the sandbox may be requested."""
    return {str(document[field]) for field in ("id", "name") if document.get(field)}
