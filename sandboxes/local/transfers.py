"""Files in and out of a sandbox: uploads and downloads, streamed."""

import asyncio
import json
import os
import re
import stat
from contextlib import suppress
from urllib.parse import quote
from uuid import uuid4

from aiohttp import BodyPartReader, web

from sandboxes.local.control import json_body
from sandboxes.local.errors import ControlError, ToolboxError
from sandboxes.local.files import answering, home_of, required
from sandboxes.local.log_answers import write_all
from sandboxes.local.paths import Home
from sandboxes.local.toolbox import sandbox_of

_CHUNK_BYTES = 65536
# Where TaskHub's runner writes down the names of files: output that goes another way than through pipes.
_NOTES = ".taskhub"
_CHANGE_SETS = frozenset({"changes.mbox", "changes.patch"})
_LONGEST_NOTES_BYTES = 16 << 20
_PART = re.compile(r"files\[(\d+)\]\.(path|file)")


class TransfersApi:
    """Handlers. Nothing larger than a chunk of 64 KiB is held in memory."""

    def routes(self) -> list[web.RouteDef]:
        base = "/toolbox/{sandboxId}/files"
        return [
            web.post(f"{base}/bulk-upload", self.upload),
            web.post(f"{base}/bulk-download", self.download_many),
            web.get(f"{base}/download", answering(self.download)),
        ]

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """multipart/form-data with files[0].path, files[0].file, files[1].path, ... 200, or 400 {"errors": [...]}.

        Each file appears under its name when it is complete, with the folders above it.
        """
        if not request.content_type.startswith("multipart/"):
            raise ToolboxError(400, "the body must be multipart/form-data")
        home = home_of(request)
        paths: dict[str, str] = {}
        errors: list[str] = []
        async for part in await request.multipart():
            match = _PART.fullmatch(getattr(part, "name", None) or "")
            if match is None or not isinstance(part, BodyPartReader):
                continue
            number, kind = match.groups()
            if kind == "path":
                paths[number] = (await part.read()).decode(errors="replace")
            elif number in paths:
                errors += await _receive(home, paths[number], part)
            else:
                errors.append(f"missing path for files[{number}]")
        if errors or not paths:
            return web.json_response({"errors": errors or ["no files in the request"]}, status=400)
        return web.Response(status=200)

    async def download(self, request: web.Request) -> web.StreamResponse:
        """200 with the file's bytes."""
        home = home_of(request)
        path = required(request, "path")
        descriptor = _open_file(home, path)
        mask = sandbox_of(request).mask
        try:
            located = home.follow(path)
            # What a script has changed of a checkout is its own, as the content of any file that is kept.
            is_note = located.is_relative_to(home.folder / _NOTES) and located.name not in _CHANGE_SETS
            if mask and is_note:
                return web.Response(body=mask.apply(_read(descriptor)), content_type="application/octet-stream")
            response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
            response.content_length = os.fstat(descriptor).st_size
            await response.prepare(request)
            await _send_whole(response, descriptor, response.content_length)
        finally:
            os.close(descriptor)
        return response

    async def download_many(self, request: web.Request) -> web.StreamResponse:
        """multipart/form-data: a part named "file" for each path, or "error" with {"message", "statusCode", "code"}."""
        try:
            body = await json_body(request)
        except ControlError as error:
            raise ToolboxError(400, error.message) from None
        paths = body.get("paths") if isinstance(body, dict) else None
        if not isinstance(paths, list) or not paths or not all(isinstance(path, str) for path in paths):
            raise ToolboxError(400, 'request body must be {"paths": [ ... ]} and non-empty')
        boundary = uuid4().hex
        response = web.StreamResponse(headers={"Content-Type": f"multipart/form-data; boundary={boundary}"})
        await response.prepare(request)
        for path in paths:
            await _send_part(request, response, path, boundary)
        await response.write(f"--{boundary}--\r\n".encode())
        return response


async def _receive(home: Home, path: str, part: BodyPartReader) -> list[str]:
    """Write one uploaded file. Returns sentences about what went wrong; empty if nothing did."""
    try:
        located = home.locate(path, parents=True)
        with home.parent(located) as (folder, name):
            unfinished = f".{uuid4().hex}.upload"
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=folder)
            try:
                while chunk := await part.read_chunk(_CHUNK_BYTES):
                    await asyncio.to_thread(_write, descriptor, chunk)
                os.rename(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
            finally:
                os.close(descriptor)
                # Renamed already, unless something went wrong above; or a script has put a folder there.
                with suppress(OSError):
                    os.unlink(unfinished, dir_fd=folder)
    except ToolboxError as error:
        return [error.message]
    except ConnectionError:
        raise
    except OSError as error:
        return [f"{path}: {error.strerror or error}"]
    return []


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _open_file(home: Home, path: str) -> int:
    """Raises OSError, ToolboxError."""
    descriptor = home.open(home.follow(path))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ToolboxError(400, f"{path} is a directory")
    return descriptor


def _read(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        return file.read(_LONGEST_NOTES_BYTES)


async def _send_whole(response: web.StreamResponse, descriptor: int, size: int) -> None:
    """Send the first `size` bytes of a file, a length that has been announced.

    A file that grows meanwhile is cut. Raises OSError if it shrinks.
    """
    sent = 0
    while sent < size and (chunk := os.pread(descriptor, min(size - sent, _CHUNK_BYTES), sent)):
        sent += len(chunk)
        await write_all(response, [chunk])
    if sent < size:
        raise OSError("the file has become shorter while it was sent")


async def _send_part(request: web.Request, response: web.StreamResponse, path: str, boundary: str) -> None:
    try:
        descriptor = _open_file(home_of(request), path)
    except (OSError, ToolboxError) as error:
        await response.write(_part_head(boundary, "error", path, "application/json") + _error(path, error) + b"\r\n")
        return
    try:
        size = os.fstat(descriptor).st_size
        await response.write(_part_head(boundary, "file", path, "application/octet-stream", size))
        await _send_whole(response, descriptor, size)
        await response.write(b"\r\n")
    finally:
        os.close(descriptor)


def _part_head(boundary: str, name: str, path: str, content_type: str, size: int | None = None) -> bytes:
    # The client finds its file by the path as it asked for it: so it travels percent-encoded, which loses nothing.
    disposition = f'form-data; name="{name}"; filename="file"; filename*=utf-8\'\'{quote(path, safe="")}'
    length = "" if size is None else f"Content-Length: {size}\r\n"
    return (
        f"--{boundary}\r\nContent-Disposition: {disposition}\r\nContent-Type: {content_type}\r\n{length}\r\n"
    ).encode()


def _error(path: str, error: OSError | ToolboxError) -> bytes:
    if isinstance(error, ToolboxError):
        body = {"message": error.message, "statusCode": error.status, "code": error.code or "BAD_REQUEST"}
    elif isinstance(error, FileNotFoundError):
        body = {"message": f"file not found: {path}", "statusCode": 404, "code": "FILE_NOT_FOUND"}
    else:
        body = {"message": f"{path}: {error.strerror or error}", "statusCode": 403, "code": "FILE_ACCESS_DENIED"}
    return json.dumps(body).encode()
