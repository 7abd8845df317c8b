"""Masking of secret values: logs and file names show `***` in their place.

A value is looked for line by line, each line without the blanks around it, since a log is read in lines too. Every
occurrence counts, also those that overlap: what they cover together becomes one `***`. Only the value itself is found,
not an encoded copy of it (base64, JSON escapes).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from taskhub.lib.encryption import SealBroken
from taskhub.models import Execution

MASK: Final = "***"
SHORTEST: Final = 4
"""Characters. Shorter lines are not masked: they could not be told apart from other text."""
LINES_MOST: Final = 200
"""Lines of all values of an execution: each costs one search of the log."""
_LINE_END: Final = re.compile(r"[\r\n]+")


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret value on its way in. Its representation does not show it."""

    value: str = field(repr=False)


class Begun(NamedTuple):
    """The beginning of an unfinished line: `masked` is final, `rest` is not looked at yet.

    The first `covered` characters of `rest` belong to a value that `masked` shows as `***` already.
    """

    masked: str
    rest: str
    covered: int


def secret_lines(values: Iterable[str]) -> list[str]:
    """The texts that are looked for, the longest first, each once."""
    lines = {line.strip() for value in values for line in _LINE_END.split(value)}
    return sorted((line for line in lines if len(line) >= SHORTEST), key=lambda line: (-len(line), line))


class Mask:
    """Masks the values of one execution. `longest` is the length of the longest text that is looked for."""

    def __init__(self, values: Iterable[str]) -> None:
        self._lines = secret_lines(values)
        self.longest = len(self._lines[0]) if self._lines else 0

    def apply(self, text: str) -> str:
        """The text with `***` for each value; the same object where there is none. It may have many lines."""
        spans = self._spans(text, len(text))
        return self._cut(text, spans, 0, len(text)) if spans else text

    def rest(self, text: str, covered: int) -> str:
        """The end of a line whose beginning was taken by `begun`."""
        return self._cut(text, self._spans(text, len(text)), covered, len(text))

    def begun(self, text: str, covered: int, hold: int) -> Begun:
        """What is certain of a line that goes on; at least the last `hold` characters are not.

        However a line is cut, its pieces together are what `apply` makes of the whole.
        """
        # A value that begins before this has its end in the text.
        until = max(0, len(text) - max(hold, self.longest - 1))
        spans = self._spans(text, until)
        reach = max((end for _, end in spans), default=0)
        return Begun(self._cut(text, spans, covered, until), text[until:], max(0, max(reach, covered) - until))

    def provisional(self, text: str, *, is_cut: bool) -> str:
        """What may be shown of a line that has not ended: without a last part that a value may begin with.

        `is_cut`: the text's own beginning is missing, so its first part may be the end of a value.
        """
        start = min(len(text), self.longest - 1) if is_cut else 0
        spans = [(max(at, start), end) for at, end in self._spans(text, len(text)) if end > start]
        return self._cut(text, spans, start, max(start, self._certain(text)))

    def _certain(self, text: str) -> int:
        """Where the longest end of the text begins that is the beginning of a value."""
        certain = len(text)
        for line in self._lines:
            at = text.find(line[0], max(0, len(text) - len(line) + 1))
            while 0 <= at < certain:
                if line.startswith(text[at:]):
                    certain = at
                at = text.find(line[0], at + 1)
        return certain

    def _spans(self, text: str, until: int) -> list[tuple[int, int]]:
        """Where values are that begin before `until`, in order. They may overlap."""
        spans: list[tuple[int, int]] = []
        for line in self._lines:
            end = until - 1 + len(line)
            at = text.find(line, 0, end)
            while at >= 0:
                spans.append((at, at + len(line)))
                at = text.find(line, at + 1, end)
        spans.sort()
        return spans

    @staticmethod
    def _cut(text: str, spans: list[tuple[int, int]], covered: int, until: int) -> str:
        """The text from `covered` to `until`, with one `***` for spans that overlap."""
        pieces: list[str] = []
        at = covered
        for start, end in spans:
            if start >= until:
                break
            if start >= at:
                pieces += text[at:start], MASK
            at = max(at, end)
        return "".join([*pieces, text[at:until]])


class MaskAll(Mask):
    """For an execution whose values cannot be decrypted any more: shows nothing of its lines."""

    def __init__(self) -> None:
        super().__init__(())

    def apply(self, text: str) -> str:
        return re.sub(r"[^\n]+", MASK, text)

    def rest(self, text: str, covered: int) -> str:  # noqa: ARG002 - see Mask
        return ""

    def begun(self, text: str, covered: int, hold: int) -> Begun:
        until = max(0, len(text) - hold)
        return Begun("" if covered else MASK, text[until:], 1)

    def provisional(self, text: str, *, is_cut: bool) -> str:  # noqa: ARG002 - likewise
        return MASK


def mask_of(execution: Execution) -> Mask | None:
    """For all that an execution shows; None where it has no secret values."""
    if not execution.secret_env:
        return None
    try:
        return Mask(execution.secrets().values())
    except SealBroken:
        return MaskAll()


def masked_path(path: str, mask: Mask | None) -> str:
    return path if mask is None else mask.apply(path)
