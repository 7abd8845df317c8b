"""Writing small state files, and removing what a sandbox leaves."""

import os
import shutil
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """A reader, also one after a crash of this process, sees the old text or the new one, never a part.

    Not synced to the medium: what a power failure takes is a few commands of a machine for trying things out.
    """
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def remove_tree(root: Path) -> None:
    """Remove a folder and everything in it, also folders that were made read-only. Raises OSError."""
    try:
        shutil.rmtree(root)
    except PermissionError:
        root.chmod(0o700)
        for folder, names, _ in os.walk(root):
            # From the top down: a folder is opened up before the walk goes into it.
            for path in (Path(folder, name) for name in names):
                if not path.is_symlink():
                    path.chmod(0o700)
        shutil.rmtree(root)
