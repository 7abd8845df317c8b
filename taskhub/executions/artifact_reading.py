"""Kept files as people look at them: the copy, a preview of it, and all copies as one zip."""

from __future__ import annotations

import codecs
import io
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any, Final, Literal, NamedTuple

from django.core.files.base import File
from django.core.files.storage import default_storage
from django.utils import timezone

from taskhub.errors import NotFound
from taskhub.models import Artifact

PREVIEW_BYTES: Final = 128 * 1024
"""Of a text; more is not shown."""
IMAGE_BYTES: Final = 10 * 1024 * 1024
"""A larger image is not shown."""
_MARKDOWN: Final = frozenset({".md", ".markdown", ".mdown"})
_IMAGES: Final = (
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"GIF87a", 0, "image/gif"),
    (b"GIF89a", 0, "image/gif"),
    (b"WEBP", 8, "image/webp"),
    (b"ftypavif", 4, "image/avif"),
)
"""Their first bytes, and where these are: what a script calls a file proves nothing."""
_SVG: Final = "image/svg+xml"
_CHUNK: Final = 256 * 1024

PreviewKind = Literal["text", "markdown", "image", "none"]


class Preview(NamedTuple):
    """`text` is the beginning of a text or of Markdown, all of it unless `is_cut`. `media_type` is that of an image."""

    kind: PreviewKind
    text: str = ""
    media_type: str = ""
    is_cut: bool = False


def open_artifact(artifact: Artifact) -> File[Any]:
    """The copy, open for reading. It blocks. Raises NotFound."""
    try:
        return default_storage.open(artifact.stored_as)
    except FileNotFoundError:
        raise NotFound("The artifact's copy is gone.", code="artifact_gone") from None


def artifact_preview(artifact: Artifact) -> Preview:
    """What can be shown of a file, by its content. It blocks. Raises NotFound."""
    with open_artifact(artifact) as content:
        head = content.read(PREVIEW_BYTES)
    is_cut = artifact.size > len(head)
    suffix = PurePosixPath(artifact.path).suffix.lower()
    media_type = next((kind for sign, at, kind in _IMAGES if head[at:].startswith(sign)), "")
    text = "" if media_type else _text_of(head, is_cut=is_cut)
    if text is None:
        return Preview("none")
    if suffix == ".svg" and "<svg" in text:
        media_type = _SVG
    if media_type:
        return Preview("image", media_type=media_type) if artifact.size <= IMAGE_BYTES else Preview("none")
    return Preview("markdown" if suffix in _MARKDOWN else "text", text=text, is_cut=is_cut)


def _text_of(head: bytes, *, is_cut: bool) -> str | None:
    """None where it is no text in UTF-8. The last character of a part may be incomplete."""
    if b"\0" in head:
        return None
    with suppress(UnicodeDecodeError):
        return codecs.getincrementaldecoder("utf-8-sig")().decode(head, final=not is_cut)
    return None


# --- All as one ---------------------------------------------------------------------------------------


def zip_of(artifacts: Iterable[Artifact]) -> Iterator[bytes]:
    """The copies as a zip, in chunks. It blocks.

    Raises NotFound at a copy that is gone: without it the zip would look whole.
    """
    sent = _Sent()
    taken: set[str] = set()
    with zipfile.ZipFile(sent, "w") as archive:
        for artifact in artifacts:
            with open_artifact(artifact) as content, archive.open(_entry(artifact, taken), "w") as member:
                for chunk in content.chunks(_CHUNK):
                    member.write(chunk)
                    if written := sent.taken():
                        yield written
    yield sent.taken()


def _entry(artifact: Artifact, taken: set[str]) -> zipfile.ZipInfo:
    at = timezone.localtime(artifact.kept_at)
    name = _name_in_zip(artifact.path, taken)
    info = zipfile.ZipInfo(name, (at.year, at.month, at.day, at.hour, at.minute, at.second))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o100644 << 16
    info.file_size = artifact.size
    return info


def _name_in_zip(path: str, taken: set[str]) -> str:
    """The path without a backslash, which some programs take for a folder's end and so could leave the zip's folder."""
    plain = path.replace("\\", "_")
    name, n = plain, 1
    while name in taken:
        n += 1
        name = f"{plain} ({n})"
    taken.add(name)
    return name


class _Sent(io.RawIOBase):
    """What was written since it was last asked; it cannot seek, so sizes follow each file."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._written += data
        return len(data)

    def taken(self) -> bytes:
        written, self._written = bytes(self._written), bytearray()
        return written
