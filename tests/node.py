"""npm packages of the checks, and a Node.js that runs them: the one of the lock file, else the machine's."""

from __future__ import annotations

import re
import shutil
import subprocess
from fcntl import LOCK_EX, flock
from hashlib import sha256
from pathlib import Path
from typing import Final

JS: Final = Path(__file__).resolve().parents[1] / ".ci" / "js"
LEAST: Final = (20, 19)
"""The first version that takes a `.js` file for a module by its syntax, as ours are."""


def install_npm(folder: Path) -> None:
    """Install what `package-lock.json` names, where that changed since; one process at a time in a folder.

    Raises CalledProcessError; FileNotFoundError without npm.
    """
    wanted = sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".installed"
    with (folder / "package.json").open() as guard:
        flock(guard, LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(command, cwd=folder, check=True, timeout=900)
        stamp.write_text(wanted)


def find_node(folder: Path = JS) -> str | None:
    """The path of a Node.js that is new enough, None where there is none."""
    locked = sorted(folder.glob("node_modules/node-linux-*/bin/node"))
    if locked:
        return str(locked[0])
    found = shutil.which("node")
    return found if found and _version(found) >= LEAST else None


def _version(node: str) -> tuple[int, int]:
    said = subprocess.run([node, "--version"], check=True, capture_output=True, text=True).stdout
    numbers = re.match(r"v(\d+)\.(\d+)", said)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
