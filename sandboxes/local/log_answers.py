"""A log as one answer: JSON or plain text, streamed from disk so that its size does not matter."""

import asyncio
import codecs
import json
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus

from aiohttp import web

from sandboxes.local.commands import Command
from sandboxes.local.logs import STDERR_MARKER, STDOUT_MARKER, read_log, read_stream

_FIRST_JSON_VERSION = (0, 167, 0)
_VERSION_HEADER = "X-Daytona-SDK-Version"


def wants_streams_apart(request: web.Request) -> bool:
    """SDKs from 0.167.0 on get JSON, and markers on the websocket; a client that names no version gets neither."""
    offered = [protocol.strip() for protocol in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    version = request.headers.get(_VERSION_HEADER) or next(
        (each.partition("~")[2] for each in offered if each.startswith(f"{_VERSION_HEADER}~")), ""
    )
    numbers = version.removeprefix("v").split("-")[0].split(".")
    if not all(number.isdigit() for number in numbers):
        return False
    return tuple(map(int, numbers)) >= _FIRST_JSON_VERSION


async def send_log(request: web.Request, command: Command, *, drop_lines: int = 0) -> web.StreamResponse:
    """200 {"output", "stdout", "stderr"}, or text for old clients.

    `drop_lines` is a fault for tests: the snapshot lacks so many lines at its end, as if it had been taken earlier.
    """
    end = _end_without_lines(command, drop_lines)
    if wants_streams_apart(request):
        return await send_document(request, {}, _streams(command, end))
    keep_markers = request.headers.get("X-Daytona-Split-Output") == "true"
    chunks = read_log(command.log, end=end) if keep_markers else read_stream(command.log, end=end)
    response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    await response.prepare(request)
    await write_all(response, chunks)
    return response


async def send_result(request: web.Request, command: Command, exit_code: int) -> web.StreamResponse:
    """200 for a command that was waited for: {"cmdId", "exitCode", "output", "stdout", "stderr"}."""
    end = command.log_size()
    known: dict[str, object] = {"cmdId": command.id, "exitCode": exit_code}
    if wants_streams_apart(request):
        return await send_document(request, known, _streams(command, end))
    return await send_document(request, known, {"output": read_stream(command.log, end=end)})


async def send_document(
    request: web.Request, known: Mapping[str, object], texts: Mapping[str, Iterable[bytes]]
) -> web.StreamResponse:
    """A JSON object of small known fields, and of texts read while they are sent. Invalid UTF-8 becomes U+FFFD."""
    response = web.StreamResponse(status=HTTPStatus.OK, headers={"Content-Type": "application/json; charset=utf-8"})
    await response.prepare(request)
    separator = "{"
    for key, value in known.items():
        await response.write(f"{separator}{json.dumps(key)}:{json.dumps(value)}".encode())
        separator = ","
    for key, chunks in texts.items():
        await response.write(f'{separator}{json.dumps(key)}:"'.encode())
        separator = ","
        await write_all(response, _escaped(chunks))
        await response.write(b'"')
    await response.write(b"}")
    return response


async def write_all(response: web.StreamResponse, chunks: Iterable[bytes]) -> None:
    """Write chunk by chunk, and let others have their turn: a fast client alone would never make this wait."""
    for chunk in chunks:
        await response.write(chunk)
        await asyncio.sleep(0)


def _streams(command: Command, end: int) -> dict[str, Iterator[bytes]]:
    return {
        "output": read_log(command.log, end=end),
        "stdout": read_stream(command.log, end=end, only=STDOUT_MARKER),
        "stderr": read_stream(command.log, end=end, only=STDERR_MARKER),
    }


def _escaped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for chunk in chunks:
        yield json.dumps(decoder.decode(chunk))[1:-1].encode()
    yield json.dumps(decoder.decode(b"", final=True))[1:-1].encode()


def _end_without_lines(command: Command, lines: int) -> int:
    """The size of the log without its last `lines` lines."""
    end = command.log_size()
    if lines == 0:
        return end
    starts = [0]
    position = 0
    for chunk in read_log(command.log, end=end):
        starts += [position + index + 1 for index, byte in enumerate(chunk) if byte == ord("\n")]
        position += len(chunk)
    return starts[max(0, len(starts) - 1 - lines)]
