"""The inside of one sandbox: its sessions, their commands and logs, its files."""

from __future__ import annotations

import codecs
import logging
import math
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import aiohttp
import daytona
import daytona_toolbox_api_client_async as toolbox_api

from sandboxes.errors import SandboxMissing, SandboxRefused, SandboxUnavailable
from sandboxes.gateway.inside import refusal_inside
from sandboxes.gateway.translation import (
    fetch,
    fetch_bytes,
    fetch_chunks,
    fetch_limited,
    translated,
    upgraded,
)
from sandboxes.gateway.values import LIFECYCLE_S, REQUEST_S, Document, Stream
from taskhub.models import SandboxSize

if TYPE_CHECKING:
    from daytona._async.process import AsyncProcess
    from daytona.internal.toolbox_api_client_proxy import ToolboxApiClientProxy

log = logging.getLogger(__name__)

SNAPSHOT_S: Final = 60.0
FILE_S: Final = 60.0
SILENCE_S: Final = 15.0
"""After so long without output a follower is told so: it may want to ask whether the command still runs."""

_MARKERS: Final[dict[bytes, Stream]] = {b"\x01\x01\x01": "stdout", b"\x02\x02\x02": "stderr"}
_MARKER: Final = re.compile(rb"\x01\x01\x01|\x02\x02\x02")
_HELD: Final = re.compile(rb"\x01{1,2}\Z|\x02{1,2}\Z")
_UTF8: Final = codecs.getincrementaldecoder("utf-8")


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
        found = await fetch("sandbox", request, refusal_inside)
        if not isinstance(found, list) or not all(map(_is_session, found)):
            raise SandboxUnavailable
        return found

    async def session_document(self, session: str) -> Document:
        """Raises SandboxMissing."""
        request = self._api.get_session_without_preload_content(session, _request_timeout=REQUEST_S)
        found: Document = await fetch("session", request, refusal_inside)
        return found

    async def work_dir(self) -> str:
        """The sandbox's working directory. Raises SandboxUnavailable for an answer without one."""
        found = await fetch(
            "sandbox", self._info.get_work_dir_without_preload_content(_request_timeout=REQUEST_S), refusal_inside
        )
        if not isinstance(found, dict) or not isinstance(found.get("dir"), str):
            raise SandboxUnavailable
        return str(found["dir"])

    async def files(self, path: str, *, limit_bytes: int) -> list[Document] | None:
        """What is in a folder, as Daytona has it; None for a longer answer. Raises SandboxMissing for the folder."""
        request = self._files.list_files_without_preload_content(path=path, _request_timeout=REQUEST_S)
        found = await fetch_limited("file", request, limit_bytes, refusal_inside)
        if found is not None and not (isinstance(found, list) and all(isinstance(each, dict) for each in found)):
            raise SandboxUnavailable
        return found

    async def file(self, path: str, *, limit_bytes: int) -> bytes:
        """A small file, as far as `limit_bytes`. Raises SandboxMissing."""
        request = self._files.download_file_without_preload_content(path, _request_timeout=REQUEST_S)
        return await fetch_bytes("file", request, limit_bytes, refusal_inside)

    async def file_chunks(self, path: str) -> AsyncGenerator[bytes, None]:
        """A file of any size, as it comes. Raises SandboxMissing."""
        request = self._files.download_file_without_preload_content(path, _request_timeout=FILE_S)
        async with aclosing(fetch_chunks("file", request, refusal_inside)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def shell(self, text: str, *, timeout_s: float = REQUEST_S) -> tuple[int, str]:
        """Run a short line outside any session; answers its exit code and its output."""
        with translated("sandbox", refusal_inside):
            answer = await self._process.exec(text, timeout=math.ceil(timeout_s))
        return int(answer.exit_code), str(answer.result or "")

    async def upload(self, files: dict[str, bytes]) -> None:
        """Write files in one request, by path; a relative one starts at the sandbox's working directory."""
        from daytona._async.filesystem import AsyncFileSystem  # noqa: PLC0415 - see `load_sdk`

        uploads = [daytona.FileUpload(source=content, destination=path) for path, content in files.items()]
        with translated("sandbox", refusal_inside):
            await AsyncFileSystem(self._files).upload_files(uploads, timeout=int(LIFECYCLE_S))

    async def session_create(self, name: str) -> None:
        """Raises SandboxRefused if there is one of this name."""
        with translated("session", refusal_inside):
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
        with translated("session", refusal_inside):
            await self._process.delete_session(name, request_timeout=REQUEST_S)

    async def release_session(self, name: str) -> None:
        """Delete the session; what is gone already is no error."""
        try:
            await self.session_delete(name)
        except SandboxMissing:
            return

    async def command_run(self, session: str, text: str) -> str:
        """Start a command and answer its id at once. A failed call may have started it all the same."""
        try:
            with translated("session", refusal_inside):
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
        return _command(await fetch("command", request, refusal_inside))

    async def snapshot(self, session: str, command: str, *, limit_bytes: int) -> Document | None:
        """The log as it is now: `stdout`, `stderr`, and `output`, which is both with their marks.

        It is held in memory: None if the answer is longer than `limit_bytes`.
        """
        request = self._api.get_session_command_logs_without_preload_content(
            session, command, _request_timeout=SNAPSHOT_S
        )
        found: Document | None = await fetch_limited("command", request, limit_bytes, refusal_inside)
        return found

    async def follow(self, session: str, command: str) -> AsyncGenerator[list[tuple[Stream, str]], None]:
        """The command's output from its first byte, in pieces, until Daytona closes the connection.

        An empty list says that nothing came for `SILENCE_S`. A connection that is cut raises SandboxUnavailable. What
        is not taken yet is bounded: a slow reader slows the connection.
        """
        demultiplexer = Demultiplexer()
        with upgraded("command", refusal_inside):
            socket = await self._open_log(session, command)
        try:
            while True:
                try:
                    message = await socket.receive(timeout=SILENCE_S)
                except TimeoutError:
                    yield []
                    continue
                if message.type in {aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT}:
                    data = message.data if isinstance(message.data, bytes) else str(message.data).encode()
                    if pieces := demultiplexer.feed(data):
                        yield pieces
                    continue
                if pieces := demultiplexer.finish():
                    yield pieces
                if message.type is aiohttp.WSMsgType.ERROR or socket.close_code not in {None, aiohttp.WSCloseCode.OK}:
                    log.info("a log connection ended with %s", socket.close_code)
                    raise SandboxUnavailable from socket.exception()
                return
        finally:
            await socket.close()

    async def _open_log(self, session: str, command: str) -> aiohttp.ClientWebSocketResponse[bool]:
        """As the SDK opens it; its own reading of the stream holds short lines back until more comes."""
        _, url, headers, *_ = self._api._get_session_command_logs_serialize(  # noqa: SLF001 - the SDK has no public way
            session_id=session,
            command_id=command,
            follow=True,
            _request_auth=None,
            _content_type=None,
            _headers=None,
            _host_index=None,
        )
        return await self._process._open_ws(re.sub(r"^http", "ws", url), headers)  # noqa: SLF001 - likewise

    @property
    def _api(self) -> Any:
        """The SDK's generated client: it hands out answers as they are, before its models."""
        return self._process._api_client  # noqa: SLF001 - the SDK has no public way to Daytona's own JSON


class Sandbox(NamedTuple):
    """A sandbox to work in: what Daytona said of it last, and its inside.

    The SDK's own class takes half a millisecond for each answer: it checks and copies some 50 fields.
    """

    id: str
    state: str
    toolbox_url: str
    toolbox: Toolbox
    error_reason: str = ""
    size: SandboxSize | None = None
    name: str = ""

    @property
    def is_started(self) -> bool:
        return self.state == "started"


class Demultiplexer:
    """The two streams of a log, from bytes in which markers say whose the next ones are; what is before any is dropped.

    Only what may be the beginning of a marker, or of a character, waits for more.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._stream: Stream | None = None
        self._decoders = {stream: _UTF8(errors="replace") for stream in _MARKERS.values()}

    def feed(self, data: bytes) -> list[tuple[Stream, str]]:
        """The pieces that these bytes bring."""
        data = self._rest + data
        pieces: list[tuple[Stream, str]] = []
        start = 0
        for marker in _MARKER.finditer(data):
            self._take(data[start : marker.start()], pieces)
            self._stream, start = _MARKERS[marker[0]], marker.end()
        held = _HELD.search(data, start)
        end = held.start() if held else len(data)
        self._take(data[start:end], pieces)
        self._rest = data[end:]
        return pieces

    def finish(self) -> list[tuple[Stream, str]]:
        """What was held back."""
        pieces: list[tuple[Stream, str]] = []
        self._take(self._rest, pieces)
        self._rest = b""
        return pieces + [
            (stream, text) for stream, decoder in self._decoders.items() if (text := decoder.decode(b"", final=True))
        ]

    def _take(self, data: bytes, pieces: list[tuple[Stream, str]]) -> None:
        if self._stream is not None and data and (text := self._decoders[self._stream].decode(data)):
            pieces.append((self._stream, text))


def _is_session(found: Any) -> bool:
    commands = (found.get("commands") or []) if isinstance(found, dict) else None
    return isinstance(commands, list) and all(isinstance(command, dict) for command in commands)


def _command(document: Document) -> Command:
    """`exitCode` is absent while the command runs."""
    code = document.get("exitCode")
    return Command(str(document["id"]), str(document.get("command", "")), int(code) if code is not None else None)
