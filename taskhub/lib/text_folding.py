"""Case and accent folding of text for searches: Überprüfung, UBERPRÜFUNG and uberprufung are one."""

from __future__ import annotations

import unicodedata
from contextlib import suppress
from functools import cache
from typing import Final

_LATIN: Final = (range(0x00C0, 0x0250), range(0x1E00, 0x1F00))
_STROKES: Final = (" WITH STROKE", " WITH DIAGONAL STROKE", " WITH MIDDLE TILDE")


def fold(text: str) -> str:
    """Compatibility forms decomposed (NFKD), case folded, combining marks left out; strokes (ø, ł, đ) too.

    Of a part of a text this is a part of the folded text, so a search may compare folded texts.
    """
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    plain = (char for char in unicodedata.normalize("NFKD", decomposed) if not unicodedata.combining(char))
    return "".join(plain).translate(_letters_with_strokes())


@cache
def _letters_with_strokes() -> dict[int, str]:
    """Small letters whose stroke is part of the letter to Unicode, and a mark to people who search: ł → l."""
    found = {0x0131: "i"}  # the dotless one
    for code in (code for block in _LATIN for code in block):
        name = unicodedata.name(chr(code), "")
        for stroke in _STROKES:
            if name.startswith("LATIN SMALL LETTER ") and name.endswith(stroke):
                with suppress(KeyError):  # of a letter that is there only with its stroke
                    found[code] = unicodedata.lookup(name.removesuffix(stroke))
    return found
