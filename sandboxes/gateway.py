"""The only module that speaks the Daytona SDK.

Every call carries a time limit (the SDK has none of its own), and every error leaves as one of ours (`errors`).
The SDK's socket.io connection, which it would open by itself, is off.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from daytona import (
    AsyncDaytona,
    AsyncSandbox,
    CreateSandboxFromSnapshotParams,
    DaytonaAuthenticationError,
    DaytonaConfig,
    DaytonaConflictError,
    DaytonaError,
    DaytonaForbiddenError,
    DaytonaNotFoundError,
    SessionExecuteRequest,
)
from django.conf import settings

from sandboxes.errors import KeyRefused, SandboxError, SandboxMissing, SandboxRefused, SandboxUnavailable
from taskhub.cancellation import cancel_all

log = logging.getLogger(__name__)

REQUEST_S: Final = 10.0
LIFECYCLE_S: Final = 60.0
"""Creating, starting and stopping: Daytona itself holds such a request for up to 30 s."""

Sandbox = AsyncSandbox
"""The SDK's own object, opaque outside this module but for `id` and `state`."""
Stream = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a session; `exit_code` is None while it runs (or if its shell died: Daytona cannot tell)."""

    id: str
    text: str
    exit_code: int | None


class Gateway:
    """Daytona, in the hub's words. Made by `open_gateway`."""

    def __init__(self, client: AsyncDaytona) -> None:
        self._client = client

    async def sandbox_get(self, id_or_name: str) -> Sandbox:
        """Raises SandboxMissing."""
        with _translated("sandbox"):
            return await self._client.get(id_or_name, request_timeout=REQUEST_S)

    async def sandbox_create(self, *, name: str, labels: dict[str, str], ttl_minutes: int) -> Sandbox:
        """A started sandbox of this name; the one that has the name already, if there is one.

        It never stops by itself while a script runs; after `ttl_minutes` Daytona destroys it whatever became of us.
        """
        params = CreateSandboxFromSnapshotParams(
            name=name, labels=labels, auto_stop_interval=0, ttl_minutes=ttl_minutes
        )
        try:
            with _translated("sandbox"):
                return await self._client.create(params, timeout=LIFECYCLE_S)
        except SandboxRefused as error:
            if error.code != "sandbox_conflict":
                raise
        return await self.sandbox_get(name)

    async def sandbox_start(self, sandbox: Sandbox) -> None:
        """Started when it returns, whatever it was before."""
        if sandbox.state != "started":
            with _translated("sandbox"):
                await sandbox.start(timeout=LIFECYCLE_S)

    async def sandbox_delete(self, id_or_name: str) -> None:
        """What is gone already is no error."""
        try:
            sandbox = await self.sandbox_get(id_or_name)
            with _translated("sandbox"):
                await sandbox.delete(timeout=LIFECYCLE_S)
        except SandboxMissing:
            return

    async def session_open(self, sandbox: Sandbox, name: str) -> list[Command]:
        """Make the session, or find it; answers the commands that were run in it so far."""
        try:
            with _translated("session"):
                await sandbox.process.create_session(name, request_timeout=REQUEST_S)
        except SandboxRefused as error:
            if error.code != "session_conflict":
                raise
            with _translated("session"):
                session = await sandbox.process.get_session(name, request_timeout=REQUEST_S)
            return [_command(command) for command in session.commands or []]
        return []

    async def session_delete(self, sandbox: Sandbox, name: str) -> None:
        """Ends what still runs in it. What is gone already is no error."""
        try:
            with _translated("session"):
                await sandbox.process.delete_session(name, request_timeout=REQUEST_S)
        except SandboxMissing:
            return

    async def command_run(self, sandbox: Sandbox, session: str, text: str) -> str:
        """Start a command and answer its id at once. A failed call may have started it all the same."""
        with _translated("session"):
            answer = await sandbox.process.execute_session_command(
                session, SessionExecuteRequest(command=text, run_async=True), timeout=int(REQUEST_S)
            )
        return str(answer.cmd_id)

    async def command_get(self, sandbox: Sandbox, session: str, command: str) -> Command:
        with _translated("command"):
            found = await sandbox.process.get_session_command(session, command, request_timeout=REQUEST_S)
        return _command(found)

    async def shell(self, sandbox: Sandbox, text: str) -> int:
        """Run a short line outside any session; answers its exit code."""
        with _translated("sandbox"):
            answer = await sandbox.process.exec(text, timeout=int(REQUEST_S))
        return int(answer.exit_code)

    async def work_dir(self, sandbox: Sandbox) -> str:
        with _translated("sandbox"):
            # This one call of the SDK takes no time limit.
            return await asyncio.wait_for(sandbox.get_work_dir(), REQUEST_S)

    async def upload(self, sandbox: Sandbox, files: dict[str, bytes]) -> None:
        """Write files, by absolute path."""
        for path, content in files.items():
            with _translated("sandbox"):
                await sandbox.fs.upload_file(content, path, timeout=int(LIFECYCLE_S))

    async def follow(self, sandbox: Sandbox, session: str, command: str) -> AsyncGenerator[tuple[Stream, str], None]:
        """The command's output from its first byte, in pieces, until Daytona closes the connection.

        A connection that is cut raises SandboxUnavailable. The queue is bounded: a slow reader slows the connection.
        """
        queue: asyncio.Queue[tuple[Stream, str] | Exception | None] = asyncio.Queue(64)

        async def read() -> None:
            end: Exception | None = None
            try:
                with _translated("command"):
                    await sandbox.process.get_session_command_logs_async(
                        session,
                        command,
                        lambda text: queue.put(("stdout", text)),
                        lambda text: queue.put(("stderr", text)),
                    )
            except Exception as error:  # noqa: BLE001 - it is raised where the queue is read
                end = error
            await queue.put(end)

        reader = asyncio.create_task(read())
        try:
            while (piece := await queue.get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            await cancel_all(reader)


@asynccontextmanager
async def open_gateway() -> AsyncGenerator[Gateway, None]:
    """A gateway for the running event loop. Raises KeyRefused without a key."""
    if not settings.DAYTONA_API_KEY:
        raise KeyRefused
    config = DaytonaConfig(
        api_key=settings.DAYTONA_API_KEY,
        api_url=settings.DAYTONA_API_URL,
        target=settings.DAYTONA_TARGET or None,
        use_deprecated_polling=True,
    )
    with warnings.catch_warnings():
        # The SDK calls it deprecated to go without its socket.io connection, which a service must not open per call.
        warnings.filterwarnings("ignore", message="Polling-only mode", category=DeprecationWarning)
        client = AsyncDaytona(config)
    async with client:
        yield Gateway(client)


def _command(found: Any) -> Command:
    """From the SDK's model; its `exit_code` is absent while the command runs."""
    code = found.exit_code
    return Command(str(found.id), str(found.command), int(code) if code is not None else None)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """The SDK's errors as ours; `what` is what a 404 or 409 is about."""
    try:
        yield
    except DaytonaError as error:
        raise _ours(error, what) from error
    except (TimeoutError, OSError) as error:
        log.warning("Daytona: %s", type(error).__name__)
        raise SandboxUnavailable from error


def _ours(error: DaytonaError, what: str) -> SandboxError:
    # A refused websocket upgrade carries its status only in its cause.
    status = error.status_code or getattr(error.__cause__, "status", None)
    log.info("Daytona answered %s (%s)", status, type(error).__name__)
    if isinstance(error, DaytonaNotFoundError) or status in {404, 410}:
        return SandboxMissing(what)
    if isinstance(error, DaytonaConflictError) or status == 409:  # noqa: PLR2004 - Conflict
        return SandboxRefused(f"{what}_conflict", f"The {what} exists already, or is changing its state.")
    if isinstance(error, DaytonaAuthenticationError) or status == 401:  # noqa: PLR2004 - Unauthorized
        return KeyRefused()
    if isinstance(error, DaytonaForbiddenError):
        return SandboxRefused("sandbox_forbidden", "The sandbox service does not allow this to our account.")
    if status in {400, 422}:
        return SandboxRefused("sandbox_refused", "The sandbox service refused this; is the sandbox started?")
    return SandboxUnavailable(_retry_after(error))


def _retry_after(error: DaytonaError) -> float | None:
    """Seconds from `Retry-After-<throttler>` or `Retry-After`; header names keep the server's casing."""
    for name, value in (error.headers or {}).items():
        if name.lower().startswith("retry-after"):
            try:
                return float(value)
            except ValueError:
                return None
    return None
