"""The inside of one sandbox: its sessions, their commands and logs, its files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import daytona
import daytona_toolbox_api_client_async as toolbox_api

from sandboxes.errors import SandboxMissing, SandboxRefused, SandboxUnavailable
from sandboxes.gateway.translation import (
    LIFECYCLE_S,
    REQUEST_S,
    Document,
    fetch,
    fetch_bytes,
    fetch_chunks,
    fetch_limited,
    translated,
)
from taskhub.lib.cancellation import cancel_all
from taskhub.lib.wakeup import Wakeup

if TYPE_CHECKING:
    from daytona._async.process import AsyncProcess
    from daytona.internal.toolbox_api_client_proxy import ToolboxApiClientProxy

SNAPSHOT_S: Final = 60.0
FILE_S: Final = 60.0
SILENCE_S: Final = 15.0
"""After so long without output a follower is told so: it may want to ask whether the command still runs."""
_INBOX_CHARS: Final = 128 * 1024

Stream = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a session; `exit_code` is None while it runs (or if its shell died: Daytona cannot tell)."""

    id: str
    text: str
    exit_code: int | None


class Toolbox:
    """What can be asked of a sandbox by its id and the address of its inside."""

    def __init__(self, sandbox_id: str, process: AsyncProcess, proxy: ToolboxApiClientProxy[Any]) -> None:
        self.id = sandbox_id
        self._process = process
        self._files = toolbox_api.FileSystemApi(proxy)
        self._info = toolbox_api.InfoApi(proxy)

    @classmethod
    def at(cls, client: daytona.AsyncDaytona, sandbox_id: str, toolbox_url: str) -> Self:
        """The SDK would ask for the whole sandbox first; a poll knows it already."""
        from daytona._async.process import AsyncProcess  # noqa: PLC0415 - see `load_sdk`
        from daytona.internal.toolbox_api_client_proxy import ToolboxApiClientProxy  # noqa: PLC0415 - likewise

        proxy = ToolboxApiClientProxy(client._toolbox_api_client, sandbox_id, toolbox_url)  # noqa: SLF001 - see above
        return cls(sandbox_id, AsyncProcess("python", toolbox_api.ProcessApi(proxy)), proxy)

    async def session_documents(self) -> list[Document]:
        """All sessions with their commands, as Daytona has them. Raises SandboxRefused unless it is started."""
        request = self._api.list_sessions_without_preload_content(_request_timeout=REQUEST_S)
        found = await fetch("sandbox", request)
        if not isinstance(found, list) or not all(map(_is_session, found)):
            raise SandboxUnavailable
        return found

    async def session_document(self, session: str) -> Document:
        """Raises SandboxMissing."""
        request = self._api.get_session_without_preload_content(session, _request_timeout=REQUEST_S)
        found: Document = await fetch("session", request)
        return found

    async def work_dir(self) -> str:
        """The sandbox's working directory. Raises SandboxUnavailable for an answer without one."""
        found = await fetch("sandbox", self._info.get_work_dir_without_preload_content(_request_timeout=REQUEST_S))
        if not isinstance(found, dict) or not isinstance(found.get("dir"), str):
            raise SandboxUnavailable
        return str(found["dir"])

    async def file(self, path: str, *, limit_bytes: int) -> bytes:
        """A small file, as far as `limit_bytes`. Raises SandboxMissing."""
        request = self._files.download_file_without_preload_content(path, _request_timeout=REQUEST_S)
        return await fetch_bytes("file", request, limit_bytes)

    async def file_chunks(self, path: str) -> AsyncGenerator[bytes, None]:
        """A file of any size, as it comes. Raises SandboxMissing."""
        request = self._files.download_file_without_preload_content(path, _request_timeout=FILE_S)
        async with aclosing(fetch_chunks("file", request)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def session_create(self, name: str) -> None:
        """Raises SandboxRefused if there is one of this name."""
        with translated("session"):
            await self._process.create_session(name, request_timeout=REQUEST_S)

    async def session_open(self, name: str) -> list[Command]:
        """Make the session, or find it; answers the commands that were run in it so far."""
        try:
            await self.session_create(name)
        except SandboxRefused as error:
            if error.code != "session_conflict":
                raise
            document = await self.session_document(name)
            return [_command(command) for command in document.get("commands") or []]
        return []

    async def session_delete(self, name: str) -> None:
        """Ends what still runs in it. Raises SandboxMissing."""
        with translated("session"):
            await self._process.delete_session(name, request_timeout=REQUEST_S)

    async def command_run(self, session: str, text: str) -> str:
        """Start a command and answer its id at once. A failed call may have started it all the same."""
        try:
            with translated("session"):
                answer = await self._process.execute_session_command(
                    session, daytona.SessionExecuteRequest(command=text, run_async=True), timeout=int(REQUEST_S)
                )
        except SandboxUnavailable as error:
            # v0.190 says 500 where there is no such session, and where its shell has ended itself (`exit 5`).
            await self.session_document(session)
            if "broken pipe" in str(error.__cause__):
                raise SandboxRefused("session_ended", "The session's shell has ended; make another session.") from error
            raise
        return str(answer.cmd_id)

    async def command(self, session: str, command: str) -> Command:
        """Raises SandboxMissing, also where the session is gone."""
        request = self._api.get_session_command_without_preload_content(session, command, _request_timeout=REQUEST_S)
        return _command(await fetch("command", request))

    async def snapshot(self, session: str, command: str, *, limit_bytes: int) -> Document | None:
        """The log as it is now: `stdout`, `stderr`, and `output`, which is both with their marks.

        It is held in memory: None if the answer is longer than `limit_bytes`.
        """
        request = self._api.get_session_command_logs_without_preload_content(
            session, command, _request_timeout=SNAPSHOT_S
        )
        found: Document | None = await fetch_limited("command", request, limit_bytes)
        return found

    async def follow(self, session: str, command: str) -> AsyncGenerator[list[tuple[Stream, str]], None]:
        """The command's output from its first byte, in pieces, until Daytona closes the connection.

        An empty list says that nothing came for `SILENCE_S`. A connection that is cut raises SandboxUnavailable. What
        is not taken yet is bounded: a slow reader slows the connection.
        """
        inbox = _Inbox()

        async def read() -> None:
            with translated("command"):
                await self._process.get_session_command_logs_async(session, command, inbox.stdout, inbox.stderr)  # type: ignore[arg-type]  # it awaits what there is to await

        reader = asyncio.create_task(read())
        reader.add_done_callback(lambda _: inbox.moved.send())
        try:
            while not reader.done() or inbox.pieces:
                if inbox.pieces:
                    yield inbox.take()
                    continue
                try:
                    async with asyncio.timeout(SILENCE_S):
                        await inbox.moved.wait()
                except TimeoutError:
                    yield []
            reader.result()
        finally:
            await cancel_all(reader)

    @property
    def _api(self) -> Any:
        """The SDK's generated client: it hands out answers as they are, before its models."""
        return self._process._api_client  # noqa: SLF001 - the SDK has no public way to Daytona's own JSON


class Sandbox(Toolbox):
    """A sandbox to work in, as the SDK has it: it can also be started, and holds files."""

    def __init__(self, sandbox: daytona.AsyncSandbox) -> None:
        proxy = sandbox._toolbox_api  # noqa: SLF001 - the SDK has no public way to answers as they are
        super().__init__(str(sandbox.id), sandbox.process, proxy)
        self._sandbox = sandbox

    @property
    def state(self) -> str:
        return str(self._sandbox.state.value) if self._sandbox.state is not None else "unknown"

    async def start(self) -> None:
        """Started when it returns, whatever it was before."""
        if self.state != "started":
            with translated("sandbox"):
                await self._sandbox.start(timeout=LIFECYCLE_S)

    async def shell(self, text: str) -> int:
        """Run a short line outside any session; answers its exit code."""
        with translated("sandbox"):
            answer = await self._sandbox.process.exec(text, timeout=int(REQUEST_S))
        return int(answer.exit_code)

    async def upload(self, files: dict[str, bytes]) -> None:
        """Write files, by absolute path."""
        for path, content in files.items():
            with translated("sandbox"):
                await self._sandbox.fs.upload_file(content, path, timeout=int(LIFECYCLE_S))

    async def release_session(self, name: str) -> None:
        """Delete the session; what is gone already is no error."""
        try:
            await self.session_delete(name)
        except SandboxMissing:
            return


class _Inbox:
    """What the SDK's callbacks bring until it is taken. Beyond 128 KiB they wait, and with them the connection."""

    def __init__(self) -> None:
        self.pieces: list[tuple[Stream, str]] = []
        self.moved = Wakeup()
        self._chars = 0
        self._taken = Wakeup()

    def stdout(self, text: str) -> Coroutine[Any, Any, None] | None:
        return self._put("stdout", text)

    def stderr(self, text: str) -> Coroutine[Any, Any, None] | None:
        return self._put("stderr", text)

    def _put(self, stream: Stream, text: str) -> Coroutine[Any, Any, None] | None:
        """The SDK awaits what a callback returns, if it is something to await."""
        if not self.pieces:
            self.moved.send()
        self.pieces.append((stream, text))
        self._chars += len(text)
        return self._taken.wait() if self._chars > _INBOX_CHARS else None

    def take(self) -> list[tuple[Stream, str]]:
        pieces, self.pieces, self._chars = self.pieces, [], 0
        self._taken.send()
        return pieces


def _is_session(found: Any) -> bool:
    commands = (found.get("commands") or []) if isinstance(found, dict) else None
    return isinstance(commands, list) and all(isinstance(command, dict) for command in commands)


def _command(document: Document) -> Command:
    """`exitCode` is absent while the command runs."""
    code = document.get("exitCode")
    return Command(str(document["id"]), str(document.get("command", "")), int(code) if code is not None else None)
