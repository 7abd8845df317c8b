"""Paths of files in a working folder."""

from __future__ import annotations

from typing import Final

PATH_BYTES: Final = 1000
"""A longer path is not named."""


def is_inside(path: str) -> bool:
    """Whether it is the path of a file below the folder it is relative to, in one spelling, that can be asked for."""
    if not path or not path.isprintable() or "\ufffd" in path or len(path.encode()) > PATH_BYTES:
        return False
    return not any(part in {"", ".", ".."} for part in path.split("/"))
