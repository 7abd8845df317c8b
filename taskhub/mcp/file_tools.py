"""MCP tool for reading texts: an execution's files and log, a task's description, notes and whole state."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, Final

from django.core.files.storage import default_storage
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer

from taskhub.api.fields import IdField, TextField
from taskhub.api.notes import NoteSerializer
from taskhub.api.task_detail import task_detail
from taskhub.errors import Invalid, NotFound
from taskhub.executions.log_reading import archived_size, archived_text, running_size, running_text
from taskhub.executions.text_window import TextWindow, text_window
from taskhub.lib.storage_threads import on_storage_thread
from taskhub.mcp.budget import ANSWER_BYTES, clip, size_of
from taskhub.mcp.fields import NamedSerializer, TaskIdField
from taskhub.mcp.principal import Requester
from taskhub.mcp.task_tools import touch
from taskhub.mcp.tools import Arguments, Tool
from taskhub.models import Execution, Task
from taskhub.roles import Role
from taskhub.selectors.artifacts import artifact_named
from taskhub.selectors.executions import execution_get_for
from taskhub.selectors.notes import notes_of
from taskhub.selectors.tasks import task_get_for
from taskhub.web.thread_pool import with_database

LIMIT_BYTES: Final = 64 * 1024
_OVERHEAD_BYTES: Final = 2048
"""Of an answer, beside the text: a path of 1,000 characters, and what is told."""
_SNIFFED_BYTES: Final = 8192
_NOTES_MOST: Final = 1000
LOG: Final = "/log"
_KINDS: Final = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"%PDF-": "application/pdf",
    b"PK\x03\x04": "application/zip",
    b"\x1f\x8b": "application/gzip",
    b"\x7fELF": "application/x-executable",
    b"SQLite format 3\0": "application/vnd.sqlite3",
}


class ReadFileSerializer(NamedSerializer):
    task_id = TaskIdField()
    path = TextField(max_length=1000, trim_whitespace=False)
    execution_id = IdField(required=False)
    offset = serializers.IntegerField(min_value=0, max_value=2**53, default=0, help_text="next of before.")
    limit = serializers.IntegerField(
        min_value=100, max_value=LIMIT_BYTES, default=ANSWER_BYTES - _OVERHEAD_BYTES, help_text="To 65536."
    )


@dataclass(frozen=True, slots=True)
class _File:
    """A kept file: its copy's name in the storage, its size, and the path of its download."""

    stored_as: str
    size: int
    url: str


async def _read(requester: Requester, arguments: Arguments) -> Any:
    path, offset, limit = (arguments.pop(name) for name in ("path", "offset", "limit"))
    if path == LOG:
        execution = await with_database(_execution, requester, arguments)
        size = await _log_size(execution)
        return _told(path, size, await _log_window(execution, size, offset, limit), limit)
    if path.startswith("/"):
        raw: bytes = await with_database(_own_text, requester, arguments, path)
        window = text_window(raw[offset : offset + limit], offset=offset, size=len(raw), lossy=True)
        return _told(path, len(raw), window, limit)
    file = await with_database(_file, requester, arguments, path)
    begun, raw = await on_storage_thread(_bytes, file, offset, limit)
    window = text_window(raw, offset=offset, size=file.size)
    if window is None or text_window(begun, offset=0, size=file.size) is None:
        url = requester.address(file.url)
        return {"path": path, "size": file.size, "binary": True, "type": _kind(path, begun), "url": url}
    return _told(path, file.size, window, limit)


def _told(path: str, size: int, window: TextWindow | None, limit: int) -> dict[str, Any]:
    """`limit` holds for the text as JSON: quotes and line ends take two bytes there."""
    text, offset, following = window or TextWindow("", 0, None)
    if size_of(text) > limit:
        text = clip(text, limit)[:-1]
        following = offset + len(text.encode())
    return {"path": path, "size": size, "offset": offset, "next": following, "text": text}


# --- Texts of the hub ----------------------------------------------------------------------------------


def _own_text(requester: Requester, arguments: Arguments, path: str) -> bytes:
    if path not in _OWN:
        known = ", ".join([*_OWN, LOG])
        raise Invalid("Unknown path.", details={"path": [f"Must be a file's path, or one of: {known}."]})
    touch(requester, arguments)
    return _OWN[path](requester, task_get_for(user=requester.user, task_id=arguments["task_id"])).encode()


def _description(requester: Requester, task: Task) -> str:  # noqa: ARG001 - as the others
    return task.description


def _notes(requester: Requester, task: Task) -> str:
    """The newest first, as JSON, a note a line."""
    notes = NoteSerializer(notes_of(user=requester.user, task=task)[:_NOTES_MOST], many=True)
    return "\n".join(json.dumps(json.loads(JSONRenderer().render(note)), ensure_ascii=False) for note in notes.data)


def _whole(requester: Requester, task: Task) -> str:
    text: bytes = JSONRenderer().render(task_detail(requester.user, task))
    return text.decode()


_OWN: Final[dict[str, Callable[[Requester, Task], str]]] = {
    "/description": _description,
    "/notes": _notes,
    "/task": _whole,
}


# --- Logs -----------------------------------------------------------------------------------------------


def _execution(requester: Requester, arguments: Arguments) -> Execution:
    touch(requester, arguments)
    return execution_get_for(user=requester.user, **arguments)


async def _log_size(execution: Execution) -> int:
    if execution.is_active:
        return await running_size(execution)
    return await on_storage_thread(archived_size, execution)


async def _log_window(execution: Execution, size: int, offset: int, limit: int) -> TextWindow | None:
    end = min(size, offset + limit)
    if execution.is_active:
        raw = b"".join([chunk async for chunk in running_text(execution, offset, end)])
    else:
        raw = await on_storage_thread(lambda: b"".join(archived_text(execution, min(offset, end), end)))
    return text_window(raw, offset=offset, size=size, lossy=True)


# --- Files ----------------------------------------------------------------------------------------------


def _file(requester: Requester, arguments: Arguments, path: str) -> _File:
    execution = _execution(requester, arguments)
    artifact = artifact_named(execution=execution, path=path)
    url = f"/api/exec/artifacts/{execution.task_id}/{artifact.pk}"
    return _File(artifact.stored_as, artifact.size, url)


def _bytes(file: _File, offset: int, limit: int) -> tuple[bytes, bytes]:
    """The file's beginning, which tells a text from other files, and the window."""
    try:
        with default_storage.open(file.stored_as) as stored:
            begun = _at(stored, 0, _SNIFFED_BYTES)
            return begun, _at(stored, offset, limit) if offset < file.size else b""
    except FileNotFoundError:
        raise NotFound("The file's copy is gone.", code="artifact_gone") from None


def _at(stored: IO[Any], offset: int, length: int) -> bytes:
    stored.seek(offset)
    read: bytes = stored.read(length)
    return read


def _kind(path: str, begun: bytes) -> str:
    """By what is in the file; else by its name."""
    known = (kind for mark, kind in _KINDS.items() if begun.startswith(mark))
    return next(known, None) or mimetypes.guess_type(path)[0] or "application/octet-stream"


FILE_TOOLS = (
    Tool(
        name="read_file",
        title="Read a file",
        description="A text file that a task's execution left (paths: get_execution; default: the newest), "
        "or /log, /description, /notes, /task.",
        takes=ReadFileSerializer,
        run=_read,
        role=Role.VIEWER,
        reads=True,
        most=LIMIT_BYTES + _OVERHEAD_BYTES,
    ),
)
