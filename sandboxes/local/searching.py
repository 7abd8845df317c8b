"""Finding files by name, and lines by content."""

import asyncio
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiohttp import web

from sandboxes.local.errors import ToolboxError
from sandboxes.local.files import answering, home_of, required
from sandboxes.local.paths import Home

_MOST_MATCHES = 10_000
_LONGEST_LINE_BYTES = 65536
_LOOKED_AT_FOR_NUL_BYTES = 512


class SearchingApi:
    """Handlers. An answer holds at most 10,000 matches."""

    def routes(self) -> list[web.RouteDef]:
        base = "/toolbox/{sandboxId}/files"
        return [web.get(f"{base}/find", answering(self.find)), web.get(f"{base}/search", answering(self.search))]

    async def find(self, request: web.Request) -> web.StreamResponse:
        """Lines that contain the text `pattern`, in all text files below `path`: [{"file", "line", "content"}]."""
        pattern = required(request, "pattern").encode(errors="surrogateescape")
        home, root = _where(request)
        return web.json_response(await asyncio.to_thread(_take, _lines_with(home, root, pattern)))

    async def search(self, request: web.Request) -> web.StreamResponse:
        """Files below `path` whose path from there matches the glob `pattern` (*, **, ?, [a-z], {a,b}): {"files"}."""
        pattern = _glob(required(request, "pattern"))
        home, root = _where(request)
        files = (str(file) for file in _files(home, root) if pattern.fullmatch(str(file.relative_to(root))))
        return web.json_response({"files": await asyncio.to_thread(_take, files)})


def _where(request: web.Request) -> tuple[Home, Path]:
    home = home_of(request)
    return home, home.follow(required(request, "path"))


def _take(matches: Iterator[Any]) -> list[Any]:
    return [match for match, _ in zip(matches, range(_MOST_MATCHES), strict=False)]


def _files(home: Home, root: Path) -> Iterator[Path]:
    """Every file below `root`; `root` itself if it is one. Links are not followed. Raises OSError."""
    if not home.is_folder(root):
        with home.place(root):
            yield root
        return
    for path, status in home.walk(root):
        if not stat.S_ISDIR(status.st_mode):
            yield path


def _lines_with(home: Home, root: Path, pattern: bytes) -> Iterator[dict[str, object]]:
    for path in _files(home, root):
        try:
            descriptor = home.open(path)
        except OSError:
            # Not readable, not a regular file, or gone since the listing: Daytona passes over it too.
            continue
        with os.fdopen(descriptor, "rb") as file:
            # A file that grows meanwhile is searched up to the size it had.
            size = os.fstat(descriptor).st_size
            if b"\0" in file.peek(_LOOKED_AT_FOR_NUL_BYTES)[:_LOOKED_AT_FOR_NUL_BYTES]:
                continue
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE_BYTES), b""), start=1):
                if file.tell() > size + _LONGEST_LINE_BYTES:
                    break
                if pattern in line:
                    content = line.decode(errors="replace").rstrip("\r\n")
                    yield {"file": str(path), "line": number, "content": content}


def _glob(pattern: str) -> re.Pattern[str]:
    """Raises ToolboxError 400."""
    expression = ""
    depth = 0
    for part in re.findall(r"\*\*/|\*\*|\[!?[^\]]+\]|\\.|.", pattern, re.DOTALL):
        if part == "{":
            depth += 1
        piece = _GLOB.get(part) if part != "," or depth else re.escape(part)
        if part == "}":
            depth -= 1
        expression += _glob_literal(part) if piece is None else piece
    try:
        return re.compile(expression)
    except re.error:
        raise ToolboxError(400, f"invalid glob pattern: {pattern}") from None


_GLOB = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")", ",": "|"}


def _glob_literal(part: str) -> str:
    if part.startswith("[") and part.endswith("]") and len(part) > 1:
        return part.replace("[!", "[^", 1)
    return re.escape(part[1:] if part.startswith("\\") and len(part) > 1 else part)
