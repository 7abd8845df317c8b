"""Node.js for the checks of the pages' JavaScript: the one of `.ci/js/package-lock.json`, else the machine's."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

JS: Final = Path(__file__).resolve().parents[1] / ".ci" / "js"
LEAST: Final = (20, 19)
"""The first version that takes a `.js` file for a module by its syntax, as ours are."""


def find_node() -> str | None:
    """The path of a Node.js that is new enough, None where there is none."""
    locked = sorted(JS.glob("node_modules/node-linux-*/bin/node"))
    if locked:
        return str(locked[0])
    found = shutil.which("node")
    return found if found and _version(found) >= LEAST else None


def _version(node: str) -> tuple[int, int]:
    said = subprocess.run([node, "--version"], check=True, capture_output=True, text=True).stdout
    numbers = re.match(r"v(\d+)\.(\d+)", said)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
