"""Masking of secret values: a sandbox's output shows `***` in their place, before it is written anywhere.

A value is looked for line by line, each line without the blanks around it, since output is passed on in lines. Only the
value itself is found, not an encoded copy of it. A script that wants to show its values can: this keeps accidents out
of logs.
"""

import re
from collections.abc import Iterable

MASK = b"***"
SHORTEST = 4
_LINE_END = re.compile(rb"[\r\n]+")


def secret_lines(values: Iterable[str]) -> list[bytes]:
    """The texts that are looked for, the longest first, each once. A NUL is lost in output, so it is here."""
    encoded = (value.encode("utf-8", errors="surrogateescape").replace(b"\0", b"") for value in values)
    lines = {line.strip() for value in encoded for line in _LINE_END.split(value)}
    return sorted((line for line in lines if len(line) >= SHORTEST), key=lambda line: (-len(line), line))


class Mask:
    """Masks these values. Without any it gives back what it gets."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._lines = secret_lines(values)
        self._hold = len(self._lines[0]) - 1 if self._lines else 0

    def __bool__(self) -> bool:
        return bool(self._lines)

    def apply(self, data: bytes, covered: int = 0) -> bytes:
        """Values that overlap become one `***`. The first `covered` bytes were shown as such already."""
        return self._cut(data, self._spans(data, len(data)), covered, len(data)) if self._lines else data[covered:]

    def begin(self, data: bytes, covered: int) -> tuple[bytes, bytes, int]:
        """Of a text that goes on: what is certain, masked; the rest; how much of that is covered by it already.

        However a text is cut, its pieces together are what `apply` makes of the whole.
        """
        # A value that begins before this has its end in the data.
        until = max(0, len(data) - self._hold)
        spans = self._spans(data, until)
        reach = max((end for _, end in spans), default=0)
        return self._cut(data, spans, covered, until), data[until:], max(0, max(reach, covered) - until)

    def _spans(self, data: bytes, until: int) -> list[tuple[int, int]]:
        """Where values are that begin before `until`, in order. They may overlap."""
        found = []
        for line in self._lines:
            end = until - 1 + len(line)
            at = data.find(line, 0, end)
            while at >= 0:
                found.append((at, at + len(line)))
                at = data.find(line, at + 1, end)
        return sorted(found)

    @staticmethod
    def _cut(data: bytes, spans: list[tuple[int, int]], covered: int, until: int) -> bytes:
        pieces, at = [], covered
        for start, end in spans:
            if start >= until:
                break
            if start >= at:
                pieces += [data[at:start], MASK]
            at = max(at, end)
        return b"".join([*pieces, data[at:until]])


NO_MASK = Mask()
