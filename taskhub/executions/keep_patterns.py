"""Glob patterns of the files that an environment keeps, as one regular expression.

`*` stands for any part of a name, `**` for any folders too. A pattern holds for the whole path, relative to the working
folder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_PARTS: Final = re.compile(r"\*\*/|\*\*|\*|[^*]")
_MEANS: Final = {"**/": "(.*/)?", "**": ".*", "*": "[^/]*"}
_SPECIAL: Final = frozenset(r".^$+?{}()|\[]")
_NOTHING: Final = "/"
"""No path is that."""


def expression_of(patterns: Sequence[str]) -> str:
    """For `grep -E` and for Python alike, to be matched with a whole path."""
    return "|".join(map(_expression, patterns)) or _NOTHING


def is_named(path: str, patterns: Sequence[str]) -> bool:
    return re.fullmatch(expression_of(patterns), path) is not None


def _expression(pattern: str) -> str:
    parts = _PARTS.findall(pattern)
    return "".join(_MEANS.get(part) or (f"\\{part}" if part in _SPECIAL else part) for part in parts)
