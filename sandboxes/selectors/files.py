"""Files inside a sandbox, for operators: the content of a folder, and of a file."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final, NamedTuple

from sandboxes.gateway import Document, open_gateway
from taskhub.errors import TooLarge

LISTED_BYTES: Final = 4 * 1024 * 1024
"""Of Daytona's answer for a folder."""
CONTENT_BYTES: Final = 32 * 1024 * 1024


class Folder(NamedTuple):
    """`path` is absolute. Folders come first, then by name."""

    path: str
    items: list[Document]


async def folder_get(*, sandbox_id: str, path: str) -> Folder:
    """The content of a folder; of the working directory where `path` is empty. Raises SandboxError, TooLarge."""
    async with open_gateway(watching=True) as gateway:
        toolbox = gateway.toolbox_of(await gateway.document(sandbox_id))
        path = path or await toolbox.work_dir()
        found = await toolbox.files(path, limit_bytes=LISTED_BYTES)
    if found is None:
        raise TooLarge("The folder has too many files for one answer.", code="folder_too_large")
    items = [_shown(path, each) for each in found]
    return Folder(path, sorted(items, key=lambda item: (not item["is_dir"], item["name"])))


async def file_get(*, sandbox_id: str, path: str) -> bytes:
    """Raises SandboxError; TooLarge beyond 32 MiB."""
    async with open_gateway(watching=True) as gateway:
        toolbox = gateway.toolbox_of(await gateway.document(sandbox_id))
        content = await toolbox.file(path, limit_bytes=CONTENT_BYTES + 1)
    if len(content) > CONTENT_BYTES:
        raise TooLarge("The file has more than 32 MiB; have a command in the sandbox split it.", code="file_too_large")
    return content


def _shown(folder: str, item: Document) -> Document:
    name = str(item.get("name", ""))
    size, modified = item.get("size"), item.get("modifiedAt") or item.get("modTime")
    return {
        "name": name,
        "path": str(PurePosixPath(folder) / name),
        "is_dir": bool(item.get("isDir")),
        "size": size if isinstance(size, int) else 0,
        "modified": str(modified or ""),
    }
