"""Byte budget of answers: what is too long is cut, and the answer says what, and how to read the rest.

An agent pays for every byte of an answer with its context. The budget is that of the JSON text, in UTF-8.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final

ANSWER_BYTES: Final = 16 * 1024
_TOLD_BYTES: Final = 1024
"""Room for `cut`."""
_TOLD_MOST: Final = 8
_MAIN: Final = "description"
"""The text that is cut last: what is to be done."""
_MAIN_LEAST: Final = 4096
_LOGS: Final = ("log", "log_tail")
"""Texts of which the end is kept; they have budgets of their own (`log_text.py`)."""
_MAP: Final = "files"
"""An object of many names, which may lose its end."""
_TEXT_MOST: Final = 2048
_TEXT_LEAST: Final = 512
_SHORT: Final = 64
_FIELDS_MOST: Final = 30
"""An object with more is a map, which may lose its end."""
ELLIPSIS: Final = "…"


def size_of(value: Any) -> int:
    """Bytes of the value as JSON."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"))


def fit(body: dict[str, Any], *, rest: str, most: int = ANSWER_BYTES) -> dict[str, Any]:
    """The body, or one of at most `most` bytes with `cut`: what is shorter than it was, and `rest`, how to read that.

    In this order, each only as far as needed: texts beyond 2 KiB, and beyond 512 bytes where 4 KiB would not be left
    for the description; the description; ends of lists and objects; the beginning of a log.
    """
    if size_of(body) <= most:
        return body
    return _Cutter(body, most - _TOLD_BYTES).run(rest)


class _Cutter:
    def __init__(self, body: dict[str, Any], room: int) -> None:
        self._body = deepcopy(body)
        self._room = room
        self._whole: dict[str, tuple[int, str]] = {}

    def run(self, rest: str) -> dict[str, Any]:
        for step in (self._texts, self._main, self._ends, self._log, self._all_texts):
            if self._excess() <= 0:
                break
            step()
        if self._excess() > 0:
            self._body = {}
        told = dict(list(self._told().items())[:_TOLD_MOST])
        return {**self._body, "cut": {**told, "rest": rest}}

    def _excess(self) -> int:
        return size_of(self._body) - self._room

    def _told(self) -> dict[str, str]:
        names = {name: name.encode("ascii", "replace")[:_SHORT].decode() for name in self._whole}
        return {names[name]: f"was {size:,} {unit}" for name, (size, unit) in self._whole.items()}

    def _note(self, name: str, size: int, unit: str) -> None:
        if size > self._whole.get(name, (0, ""))[0]:
            self._whole[name] = (size, unit)

    def _log(self) -> None:
        for name in _LOGS:
            text = self._body.get(name)
            if isinstance(text, str) and text and self._excess() > 0:
                self._note(name, len(text.encode("utf-8", "replace")), "bytes")
                self._body[name] = clip(text[::-1], max(_SHORT, size_of(text) - self._excess()))[::-1]

    def _texts(self) -> None:
        self._cap(_TEXT_MOST)
        if self._excess() > sum(size_of(holder[key]) - _MAIN_LEAST for holder, key in self._mains()):
            self._cap(_TEXT_LEAST)

    def _all_texts(self) -> None:
        """Of a body of many short texts in no list."""
        self._cap(_SHORT)

    def _mains(self) -> list[tuple[Any, Any]]:
        return [(holder, key) for holder, key in _leaves(self._body) if key == _MAIN]

    def _cap(self, cap: int) -> None:
        for holder, key in list(_leaves(self._body)):
            text = holder[key]
            if key in {_MAIN, *_LOGS} and cap > _SHORT:
                continue
            if size_of(text) > cap:
                self._note(str(key) if isinstance(key, str) else "entry", len(text.encode("utf-8", "replace")), "bytes")
                holder[key] = clip(text, cap)

    def _main(self) -> None:
        for holder, key in self._mains():
            text = holder[key]
            room = max(_MAIN_LEAST, size_of(text) - max(0, self._excess()))
            if size_of(text) > room:
                self._note(_MAIN, len(text.encode("utf-8", "replace")), "bytes")
                holder[key] = clip(text, room)

    def _ends(self) -> None:
        """Halve the longest list or object until the body fits, or nothing is left to halve."""
        while self._excess() > 0:
            found = max(_groups(self._body), key=lambda group: size_of(group[1]), default=None)
            if found is None:
                return
            name, group = found
            self._note(name, len(group), "entries")
            kept = (len(group) + 1) // 2
            for key in list(group)[kept:] if isinstance(group, dict) else []:
                del group[key]
            if isinstance(group, list):
                del group[kept:]


def clip(text: str, most: int) -> str:
    """As much of the text's beginning as has at most `most` bytes as JSON, with an ellipsis where that is not all."""
    if size_of(text) <= most:
        return text
    low, high = 0, min(len(text), most)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if size_of(text[:middle] + ELLIPSIS) <= most else (low, middle - 1)
    return text[:low] + ELLIPSIS


def _leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each text's holder, and its key or index there."""
    for key, each in list(value.items()) if isinstance(value, dict) else list(enumerate(value)):
        if isinstance(each, dict | list):
            yield from _leaves(each)
        elif isinstance(each, str):
            yield value, key


def _groups(value: Any, name: str = "answer", *, top: bool = True) -> Iterator[tuple[str, Any]]:
    """The lists and objects inside that can be halved, each with the name under which it is found."""
    inside = value.items() if isinstance(value, dict) else ((name, each) for each in value)
    for key, each in list(inside):
        if isinstance(each, dict | list):
            yield from _groups(each, str(key), top=False)
    if not top and len(value) > (1 if isinstance(value, list) or name == _MAP else _FIELDS_MOST):
        yield name, value
