"""Writing small state files."""

import os
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """A reader, also one after a crash of this process, sees the old text or the new one, never a part.

    Not synced to the medium: what a power failure takes is a few commands of a machine for trying things out.
    """
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)  # noqa: PTH105  the same call; `Path.replace` reads like replacing text
