"""Windows of a text in UTF-8, by bytes: each begins and ends between characters."""

from __future__ import annotations

import codecs
from typing import Final, NamedTuple

_LONGEST: Final = 4
"""Bytes of a character."""
_CONTINUES: Final = range(0x80, 0xC0)
"""Bytes that are inside a character."""


def last_bytes(text: str, most: int) -> str:
    """As much of its end as has at most `most` bytes in UTF-8."""
    return text.encode("utf-8", "replace")[-most:].decode("utf-8", "ignore")


class TextWindow(NamedTuple):
    """`text` begins at byte `offset`; `next` is where to go on, None at the end."""

    text: str
    offset: int
    next: int | None


def text_window(raw: bytes, *, offset: int, size: int, lossy: bool = False) -> TextWindow | None:
    """The whole characters of `raw`, which was read at `offset` of a text of `size` bytes.

    None if that is no text in UTF-8, or has a NUL, unless `lossy`: then U+FFFD stands for what is none.
    """
    skipped = 0
    while offset and skipped < min(len(raw), _LONGEST - 1) and raw[skipped] in _CONTINUES:
        skipped += 1
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace" if lossy else "strict")
    is_end = offset + len(raw) >= size
    try:
        text = decoder.decode(raw[skipped:], final=is_end)
    except UnicodeDecodeError:
        return None
    if "\0" in text and not lossy:
        return None
    rest, _ = decoder.getstate()
    return TextWindow(text, offset + skipped, None if is_end else offset + len(raw) - len(rest))
