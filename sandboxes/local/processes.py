"""Sessions, commands and logs over HTTP, and commands outside any session."""

import asyncio
import os
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from aiohttp import web

from sandboxes.local.commands import Command
from sandboxes.local.control import json_body
from sandboxes.local.errors import ControlError, ExecError, ToolboxError, no_session
from sandboxes.local.faults import Faults
from sandboxes.local.follow import follow_log, send_once
from sandboxes.local.log_answers import send_document, send_log, send_result
from sandboxes.local.logs import read_descriptor
from sandboxes.local.masking import Mask
from sandboxes.local.options import Options
from sandboxes.local.paths import Home
from sandboxes.local.rows import checked_map
from sandboxes.local.sandbox import Sandbox
from sandboxes.local.shells import Shell
from sandboxes.local.toolbox import sandbox_of

# The session of an image's entrypoint. There are no images here, so there is no such session.
_ENTRYPOINT = "entrypoint"
_EXECUTE_TIMEOUT_S = 360


class ProcessApi:
    """Handlers. They translate; sessions and commands decide and raise ToolboxError."""

    def __init__(self, options: Options, faults: Faults) -> None:
        self._options = options
        self._faults = faults

    def routes(self) -> list[web.RouteDef]:
        base = "/toolbox/{sandboxId}/process"
        command = f"{base}/session/{{sessionId}}/command/{{commandId}}"
        return [
            web.post(f"{base}/execute", self.execute),
            web.get(f"{base}/session", self.index),
            web.post(f"{base}/session", self.create),
            web.get(f"{base}/session/entrypoint/logs", self.entrypoint),
            web.get(f"{base}/session/{{sessionId}}", self.get),
            web.delete(f"{base}/session/{{sessionId}}", self.delete),
            web.post(f"{base}/session/{{sessionId}}/exec", self.execute_in_session),
            web.get(command, self.get_command),
            web.get(f"{command}/logs", self.logs),
            web.post(f"{command}/input", self.input),
        ]

    async def index(self, request: web.Request) -> web.StreamResponse:
        """Sessions in no order, as in Daytona."""
        sessions = sorted(sandbox_of(request).sessions.values(), key=lambda session: session.order)
        return web.json_response([session.document() for session in sessions])

    async def create(self, request: web.Request) -> web.StreamResponse:
        session_id = (await _object(request)).get("sessionId")
        if not isinstance(session_id, str) or not session_id:
            raise ToolboxError(400, "invalid request body: sessionId is required", "INVALID_REQUEST_BODY")
        if session_id == _ENTRYPOINT:
            raise ToolboxError(400, "can't create a session with the ID of the entrypoint session")
        await sandbox_of(request).create_session(session_id)
        return web.Response(status=201)

    async def entrypoint(self, _: web.Request) -> web.StreamResponse:
        raise no_session()

    async def get(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(sandbox_of(request).session(request.match_info["sessionId"]).document())

    async def delete(self, request: web.Request) -> web.StreamResponse:
        session_id = request.match_info["sessionId"]
        if session_id == _ENTRYPOINT:
            raise ToolboxError(400, "can't delete the entrypoint session")
        # The client may go away meanwhile; a session that is half deleted would be worse than a late answer.
        await asyncio.shield(sandbox_of(request).delete_session(session_id, self._options.kill_grace_s))
        return web.Response(status=204)

    async def execute_in_session(self, request: web.Request) -> web.StreamResponse:
        """200 with the output and exit code, or 202 with the command's id if `runAsync` (or `async`) is true."""
        body = await _object(request)
        text = body.get("command")
        if not isinstance(text, str) or not text:
            raise ExecError(400, "command cannot be empty")
        echo = not body.get("suppressInputEcho")
        try:
            session = sandbox_of(request).session(request.match_info["sessionId"])
        except ToolboxError as error:
            raise ExecError(error.status, error.message, error.code) from None
        # Only a command that runs in the background gets input later; another one reads an empty input.
        in_background = bool(body.get("runAsync") or body.get("async"))
        command = await session.execute(text, echo=echo, takes_input=in_background)
        if in_background:
            return web.json_response(
                {"cmdId": command.id, "output": None, "stdout": None, "stderr": None, "exitCode": None},
                status=HTTPStatus.ACCEPTED,
            )
        return await send_result(request, command, await session.finished(command))

    async def get_command(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(_command(request).document())

    async def logs(self, request: web.Request) -> web.StreamResponse:
        """A websocket if the client asks for one, else what the log holds now."""
        command = _command(request)
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return await send_log(request, command, drop_lines=self._faults.dropped_lines(request))
        if request.query.get("follow") != "true":
            return await send_once(request, command)
        return await follow_log(request, command, self._faults.cut(request))

    async def input(self, request: web.Request) -> web.StreamResponse:
        data = (await _object(request)).get("data")
        if not isinstance(data, str):
            raise ToolboxError(400, "invalid request body: data is required", "INVALID_REQUEST_BODY")
        session = sandbox_of(request).session(request.match_info["sessionId"])
        session.send_input(session.command(request.match_info["commandId"]), data)
        return web.Response(status=204)

    async def execute(self, request: web.Request) -> web.StreamResponse:
        """200 {"exitCode", "result"} when the command has ended and its output is closed.

        408 if that takes longer than `timeout` seconds (default 360).
        """
        body = await _object(request)
        sandbox = sandbox_of(request)
        command, timeout = body.get("command"), body.get("timeout")
        if not isinstance(command, str) or not command.strip():
            raise ToolboxError(400, "bad request: command cannot be empty or whitespace-only")
        if timeout is not None and (not isinstance(timeout, int) or timeout < 0):
            raise ToolboxError(400, "timeout must be a number of seconds")
        home = Home(sandbox.folders.home)
        cwd = home.follow(body.get("cwd") or "~")
        if not home.is_folder(cwd):
            raise ToolboxError(400, f"{cwd} is not a directory")
        env = _environment(body.get("envs"))
        # In memory: a file would have a name that a script might replace, and a full disk would take no output.
        text = _in_memory("command", command.encode("utf-8", errors="replace"))
        output = _in_memory("output")
        try:
            shell = await sandbox.start_once(text, env=env, cwd=cwd, output=output)
            exit_code = await _exit_code(sandbox, shell, timeout or _EXECUTE_TIMEOUT_S)
            result = _masked(read_descriptor(output, end=os.fstat(output).st_size), sandbox.mask)
            return await send_document(request, {"exitCode": exit_code}, {"result": result})
        finally:
            os.close(text)
            os.close(output)


def _masked(chunks: Iterator[bytes], mask: Mask) -> Iterator[bytes]:
    """A value is found however the chunks are cut."""
    held, covered = b"", 0
    for chunk in chunks:
        shown, held, covered = mask.begin(held + chunk, covered)
        yield shown
    yield mask.apply(held, covered)


def _in_memory(name: str, content: bytes = b"") -> int:
    """A descriptor of a file without a path, at its beginning."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


async def _exit_code(sandbox: Sandbox, shell: Shell, timeout: int) -> int:
    """Wait until the command has ended and its output is closed. Raises ToolboxError 408.

    What it left in the background with an output of its own goes on.
    """
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def watch() -> None:
        async for report in shell.reports():
            match report:
                # "shell": it was killed before it could tell.
                case ["once" | "shell", code] if code.isdecimal() and not ended.done():
                    if sandbox.row.state == "started":
                        ended.set_result(int(code))
        await shell.wait()
        sandbox.ended_once(shell)
        if not ended.done():
            # The sandbox was stopped.
            ended.set_exception(ToolboxError(500, "the command was ended with the sandbox"))

    watcher = asyncio.create_task(watch())
    sandbox.keep(watcher)
    try:
        return await asyncio.wait_for(asyncio.shield(ended), timeout)
    except TimeoutError:
        raise ToolboxError(408, "command execution timeout", "PROCESS_EXECUTION_TIMEOUT") from None
    finally:
        if not ended.done():
            # Timed out, or the client went away: no client can ask for the result any more.
            ended.cancel()
            await shell.end(0.0)


def _command(request: web.Request) -> Command:
    session_id = request.match_info["sessionId"]
    return sandbox_of(request).session(session_id).command(request.match_info["commandId"])


def _environment(value: object) -> dict[str, str]:
    try:
        return checked_map("envs", value or {})
    except ControlError as error:
        raise ToolboxError(400, error.message) from None


async def _object(request: web.Request) -> dict[str, Any]:
    """The body, a JSON object. Raises ToolboxError 400."""
    try:
        body = await json_body(request)
    except ControlError as error:
        raise ToolboxError(400, f"invalid request body: {error.message}", "INVALID_REQUEST_BODY") from None
    if not isinstance(body, dict):
        raise ToolboxError(400, "invalid request body: not an object", "INVALID_REQUEST_BODY")
    return body
