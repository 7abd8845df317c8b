"""Files of a sandbox over HTTP: information, listing, folders, moving, deleting, permissions."""

import asyncio
import errno
import os
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web

from sandboxes.local.disk import remove_tree_at
from sandboxes.local.errors import ToolboxError
from sandboxes.local.paths import Home
from sandboxes.local.toolbox import sandbox_of

_DEEPEST = 32
# `touch -d` takes years that a datetime does not.
_EPOCH = datetime.fromtimestamp(0, UTC)
_EARLIEST_S = (datetime(1, 1, 2, tzinfo=UTC) - _EPOCH).total_seconds()
_LATEST_S = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH).total_seconds()
_STATUS = {
    errno.ENOENT: (404, "FILE_NOT_FOUND"),
    errno.EACCES: (403, "FILE_ACCESS_DENIED"),
    errno.EPERM: (403, "FILE_ACCESS_DENIED"),
    errno.ELOOP: (403, "FILE_ACCESS_DENIED"),
    errno.EEXIST: (409, None),
    errno.EAGAIN: (409, None),
    errno.ENOSPC: (507, None),
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FilesApi:
    """Handlers. Errors are ToolboxError: 400 for a bad request, 403 outside the home, 404 for a missing path."""

    def routes(self) -> list[web.RouteDef]:
        base = "/toolbox/{sandboxId}"
        return [
            web.get(f"{base}/user-home-dir", self.home),
            web.get(f"{base}/work-dir", self.home),
            web.get(f"{base}/files", answering(self.index)),
            web.delete(f"{base}/files", answering(self.delete)),
            web.get(f"{base}/files/info", answering(self.info)),
            web.post(f"{base}/files/folder", answering(self.create_folder)),
            web.post(f"{base}/files/move", answering(self.move)),
            web.post(f"{base}/files/permissions", answering(self.set_permissions)),
        ]

    async def home(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"dir": str(home_of(request).folder)})

    async def index(self, request: web.Request) -> web.StreamResponse:
        home = home_of(request)
        folder = home.follow(request.query.get("path") or "~")
        try:
            depth = int(request.query.get("depth", "1"))
        except ValueError:
            raise ToolboxError(400, "depth must be an integer number") from None
        if depth < 1:
            raise ToolboxError(400, "depth must be at least 1")
        found = await asyncio.to_thread(list, home.walk(folder, min(depth, _DEEPEST)))
        return web.json_response([_information(path, status) for path, status in found])

    async def info(self, request: web.Request) -> web.StreamResponse:
        home = home_of(request)
        located = home.follow(required(request, "path"))
        return web.json_response(_information(located, home.status(located)))

    async def create_folder(self, request: web.Request) -> web.StreamResponse:
        home = home_of(request)
        mode = _mode(request.query.get("mode") or "0755")
        home.make_folders(home.follow(required(request, "path")), mode)
        return web.Response(status=201)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        home = home_of(request)
        recursive = request.query.get("recursive") == "true"
        with home.parent(home.locate(required(request, "path"))) as (folder, name):
            if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=folder)
            elif recursive:
                await asyncio.to_thread(remove_tree_at, folder, name)
            else:
                raise ToolboxError(400, "cannot delete directory without recursive flag")
        return web.Response(status=204)

    async def move(self, request: web.Request) -> web.StreamResponse:
        home = home_of(request)
        source = home.locate(required(request, "source"))
        destination = home.locate(required(request, "destination"))
        with home.parent(source) as (old, old_name), home.parent(destination) as (new, new_name):
            os.stat(old_name, dir_fd=old, follow_symlinks=False)
            with suppress(FileNotFoundError):
                os.stat(new_name, dir_fd=new, follow_symlinks=False)
                raise ToolboxError(409, f"destination already exists: {destination}")
            os.rename(old_name, new_name, src_dir_fd=old, dst_dir_fd=new)
        return web.Response(status=200)

    async def set_permissions(self, request: web.Request) -> web.StreamResponse:
        """`owner` and `group` are ignored: everything belongs to the user the server runs as."""
        home = home_of(request)
        located = home.follow(required(request, "path"))
        mode = request.query.get("mode")
        if mode:
            home.set_mode(located, _mode(mode))
        else:
            home.status(located)
        return web.Response(status=200)


def answering(handler: Handler) -> Handler:
    """Translate the operating system's errors: 404, 403, 409, 507 on a full disk, and 400 for the rest."""

    async def answered(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except ConnectionError:
            # Of the connection, not of the disk: the client went away.
            raise
        except OSError as error:
            status, code = _STATUS.get(error.errno or 0, (400, None))
            raise ToolboxError(status, str(error.strerror or error), code) from error

    return answered


def home_of(request: web.Request) -> Home:
    return Home(sandbox_of(request).folders.home)


def required(request: web.Request, name: str) -> str:
    """A parameter of the query string. Raises ToolboxError 400."""
    value = request.query.get(name)
    if not value:
        raise ToolboxError(400, f"{name} is required")
    return value


def _information(path: Path, status: os.stat_result) -> dict[str, Any]:
    modified = _EPOCH + timedelta(seconds=min(max(status.st_mtime, _EARLIEST_S), _LATEST_S))
    return {
        "name": path.name,
        "path": str(path),
        "isDir": stat.S_ISDIR(status.st_mode),
        "size": status.st_size,
        "mode": stat.filemode(status.st_mode),
        "permissions": f"{stat.S_IMODE(status.st_mode):04o}",
        "modTime": modified.strftime("%Y-%m-%d %H:%M:%S.%f +0000 UTC"),
        "modifiedAt": modified.isoformat().replace("+00:00", "Z"),
        "owner": str(status.st_uid),
        "group": str(status.st_gid),
    }


def _mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        raise ToolboxError(400, "invalid mode format") from None
    return mode & 0o777
