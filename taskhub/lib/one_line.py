"""Names that stay on their line: in logs, lists and sentences nothing after them may move or be turned round."""

from __future__ import annotations

import re
from typing import Final

LINE_BREAKING: Final = r"\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
"""Control characters, ends of lines and paragraphs, direction marks: the inside of a regular expression's set."""
ONE_LINE: Final = "Must be one line, without control characters or direction marks."
_BREAKING: Final = re.compile(f"[{LINE_BREAKING}]")


def is_one_line(text: str) -> bool:
    return not _BREAKING.search(text)
