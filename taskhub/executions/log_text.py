"""A log's text as a search reads it: without ANSI escape sequences, case and accents."""

from __future__ import annotations

import re
from typing import Final

from taskhub.lib.text_folding import fold

# As `static/taskhub/ansi.js` leaves them out; none reaches into another line.
_SEQUENCE: Final = re.compile(
    r"\x1b\[[0-9;:?<=>]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-Z\\^_`a-~]?"
)


def without_ansi(text: str) -> str:
    """The text as it is read: colours and other sequences left out. Its lines stay where they are."""
    return _SEQUENCE.sub("", text) if "\x1b" in text else text


def searched(text: str) -> str:
    """What a search compares with the folded words that it looks for."""
    return fold(without_ansi(text))
