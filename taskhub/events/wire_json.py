"""JSON as streams send it: compact, on one line for every reader, and within the size limit of a frame.

JSON leaves U+2028, U+2029 and U+0085 as they are, and several SSE clients split lines there (`str.splitlines` does, so
httpx and requests do). They are escaped here. aiohttp refuses a line above 128 KiB: above `FRAME_LIMIT` the largest
fields of an event are left out, and `omitted` names them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

FRAME_LIMIT: Final = 96 * 1024
"""The most bytes of an SSE frame on the wire, with its field names and line ends."""
TEXT_LIMIT: Final = 64 * 1024
"""The most bytes of one log line as a JSON string, without its quotes."""
MOST_BYTES_PER_CHARACTER: Final = 6
"""Of JSON: an escape like `\\u001b`. A character of UTF-8 has at most 4."""
_SEPARATOR: Final = re.compile("[\x85\u2028\u2029]")
_CUT: Final = {"files": "left_out", "announcements": ""}
"""Lists that are cut instead of left out, each with the field that counts what is missing, where it has one."""
_FIRST: Final = "description"
_WORTH_LEAVING_OUT: Final = 1024
_ROOM_FOR_NAMES: Final = 256
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def dumps(value: Any) -> str:
    """The value as compact JSON in one line."""
    return escape_separators(_encode(value))


def escape_separators(text: str) -> str:
    """The same JSON without a character that a reader may take for a line end."""
    # Valid JSON has them within strings alone, where an escape means the same.
    return text if text.isascii() else _SEPARATOR.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def escape_if_json(text: str) -> str:
    """Likewise, of a text that may be no JSON: then it stays as it is."""
    if text.isascii() or _SEPARATOR.search(text) is None:
        return text
    try:
        json.loads(text)
    except ValueError:
        return text
    return escape_separators(text)


def size_of(value: Any) -> int:
    """The bytes of the value as JSON."""
    return len(dumps(value).encode("utf-8", errors="replace"))


def split_text(text: str, limit: int = TEXT_LIMIT) -> Iterator[str]:
    """The text in pieces, each as long as possible: at most `limit` bytes as a JSON string without its quotes.

    The pieces depend on the text alone, not on how much of it was known before: a prefix has the same first pieces.
    """
    while len(text) * MOST_BYTES_PER_CHARACTER > limit and size_of(text) - 2 > limit:
        end = _longest_within(text[:limit], limit)
        yield text[:end]
        text = text[end:]
    yield text


def _longest_within(text: str, limit: int) -> int:
    """How many characters of the text fit, found by bisection: at least one."""
    fits, too_many = 1, len(text) + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if size_of(text[:middle]) - 2 <= limit:
            fits = middle
        else:
            too_many = middle
    return fits


def leave_out(data: Mapping[str, Any], excess: int) -> dict[str, Any]:
    """The data with at least `excess` bytes less, and `omitted`, which names what is missing.

    A description goes first, then the largest field each time. Of a list of objects that is the largest collection in
    them (`sessions.commands`), before the list itself. `files` and `announcements` are cut to what fits.
    """
    kept = dict(data)
    omitted: list[str] = []
    excess += _ROOM_FOR_NAMES
    for name, counter in _CUT.items():
        if excess > 0 and isinstance(kept.get(name), list):
            cut, saved = _cut_rows(kept[name], excess)
            excess -= saved
            if counter:
                kept[counter] = kept.get(counter, 0) + len(kept[name]) - len(cut)
            else:
                omitted.append(name)
            kept[name] = cut
    while excess > 0 and (sizes := dict(_sizes(kept))):
        path = _FIRST if _FIRST in sizes else max(sizes, key=sizes.__getitem__)
        _remove(kept, path)
        omitted.append(path)
        excess -= sizes[path]
    return {**kept, "omitted": omitted} if omitted else kept


def _cut_rows(rows: list[Any], excess: int) -> tuple[list[Any], int]:
    """The first rows, without the last ones that make up `excess` bytes; and how many bytes those had."""
    kept = list(rows)
    saved = 0
    while kept and saved < excess:
        saved += size_of(kept.pop()) + 1
    return kept, saved


def _sizes(data: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """What is worth leaving out, with its bytes."""
    for name, value in data.items():
        if not isinstance(value, str | list | dict) or (size := size_of(value)) < _WORTH_LEAVING_OUT:
            continue
        inner = dict(_sizes_within(name, value))
        yield from inner.items() if inner else [(name, size)]


def _sizes_within(name: str, rows: Any) -> Iterator[tuple[str, int]]:
    """The collections in a list of objects, each with its bytes in all of them together."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return
    keys = dict.fromkeys(key for row in rows for key, value in row.items() if isinstance(value, list | dict))
    for key in keys:
        size = sum(size_of(row[key]) for row in rows if key in row)
        if size >= _WORTH_LEAVING_OUT:
            yield f"{name}.{key}", size


def _remove(data: dict[str, Any], path: str) -> None:
    name, _, key = path.partition(".")
    if name in data and key:
        data[name] = [{each: value for each, value in row.items() if each != key} for row in data[name]]
    else:
        del data[path]
