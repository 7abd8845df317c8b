"""A log over a websocket, as it grows."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing

from aiohttp import WSCloseCode, WSMsgType, web

from sandboxes.local.commands import Command
from sandboxes.local.faults import Cut
from sandboxes.local.log_answers import wants_streams_apart
from sandboxes.local.logs import Demarker, read_log

FRAME_BYTES = 1024
# How long Daytona pauses after it found nothing new, and how often it does so before it asks for the exit code.
_PAUSE_S = 0.02
_QUIET_S = 50 * _PAUSE_S
# A reader that is behind reads what was sent before it sees the close frame and answers it.
_CLOSE_TIMEOUT_S = 5.0

_CLOSE_CODES = {"deleted": WSCloseCode.OK, "shutdown": WSCloseCode.GOING_AWAY}


async def follow_log(request: web.Request, command: Command, cut: Cut | None) -> web.StreamResponse:
    """Replay from byte 0, then what comes. Binary frames of at most 1,024 bytes, raw slices of the marked log.

    1. Closes with 1000 when the command has an exit code and nothing came for 1.0 s; at once if its session is deleted.
    2. Never closes by itself if the command ended its shell: it never gets an exit code.
    3. A stop of the sandbox drops the connection; the end of the server closes with 1001.
    `cut` is a fault for tests: the stream ends early, with a code of the test's choice.
    """
    websocket = web.WebSocketResponse(timeout=_CLOSE_TIMEOUT_S, compress=False)
    await websocket.prepare(request)
    sending = asyncio.create_task(_send(websocket, request, command, cut))
    try:
        # Pings are answered while a message is awaited; the end of the wait is the client's end.
        async for message in websocket:
            if message.type is WSMsgType.ERROR:
                break
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    return websocket


async def send_once(request: web.Request, command: Command) -> web.StreamResponse:
    """A websocket without follow=true: what the log holds now, then a drop (1006), as Daytona v0.190 does."""
    websocket = web.WebSocketResponse(timeout=_CLOSE_TIMEOUT_S, compress=False)
    await websocket.prepare(request)
    for chunk in read_log(command.log, end=command.log_size()):
        for frame in _frames(chunk):
            await websocket.send_bytes(frame)
    _drop(request)
    return websocket


async def _send(websocket: web.WebSocketResponse, request: web.Request, command: Command, cut: Cut | None) -> None:
    try:
        sent = 0
        async with aclosing(_chunks(command)) as marked:
            chunks = marked if wants_streams_apart(request) else _without_markers(marked)
            async for chunk in chunks:
                allowed = chunk if cut is None else chunk[: cut.after_bytes - sent]
                for frame in _frames(allowed):
                    await websocket.send_bytes(frame)
                sent += len(allowed)
                if cut is not None and sent >= cut.after_bytes:
                    await _close(websocket, request, cut.code)
                    return
    except ConnectionError:
        # The client went away; the reading side sees it too and ends the request.
        return
    if cut is not None:
        await _close(websocket, request, cut.code)
    elif command.ending == "stopped":
        _drop(request)
    else:
        code = _CLOSE_CODES.get(command.ending or "deleted", WSCloseCode.OK)
        await _close(websocket, request, code)


async def _chunks(command: Command) -> AsyncGenerator[bytes, None]:
    """The log in chunks, until it is over.

    Daytona looks every 20 ms. Here a follower with nothing to read sleeps until the writer wakes it, and only then
    pauses for those 20 ms: the frames are the same, and a hundred idle followers cost nothing.
    """
    position = 0
    while not command.is_cut_off():
        for chunk in read_log(command.log, start=position, end=command.log_size()):
            position += len(chunk)
            yield chunk
            # A fast reader alone would never make this wait.
            await asyncio.sleep(0)
            if command.is_cut_off():
                return
        if position >= command.log_size():
            finished = command.exit_code is not None
            changed = await command.changed.wait(_QUIET_S if finished else None)
            if finished and not changed:
                return
            await asyncio.sleep(_PAUSE_S)


async def _without_markers(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    demarker = Demarker()
    async for chunk in chunks:
        yield b"".join(payload for _, payload in demarker.feed(chunk))


def _frames(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), FRAME_BYTES):
        yield data[start : start + FRAME_BYTES]


async def _close(websocket: web.WebSocketResponse, request: web.Request, code: int) -> None:
    if code == WSCloseCode.ABNORMAL_CLOSURE:
        _drop(request)
    else:
        await websocket.close(code=code)


def _drop(request: web.Request) -> None:
    """End the connection with no close frame: the client's code is 1006. What was sent before still arrives."""
    if request.transport is not None:
        request.transport.close()
