"""`python .ci/audit_requirements.py FILE…`: known holes in the pinned requirements, by pip-audit.

Ends with 1 if there are any that `EXCUSED` does not name with its reason. pip-audit asks PyPI's advisory database; a
machine that cannot reach it, or reaches a mirror that carries no advisories, cannot know. Then this says so, loudly,
and ends with 0: a check that could not be made is no finding. `make audit` is to be run where there is internet.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

EXCUSED: Final[dict[str, str]] = {}
"""By the advisory's id: why it does not concern us, and until when that is to be looked at again."""
WITHIN_S: Final = 180


def main(files: list[str]) -> int:
    pinned = _pinned(files)
    answer = _ask(files)
    known = [entry for entry in answer if "vulns" in entry]
    if len(known) < len(pinned):
        unknown = len(pinned) - len(known)
        print(f"NOT CHECKED: no advisories could be had for {unknown} of {len(pinned)} requirements.", file=sys.stderr)
    found = [(entry, hole) for entry in known for hole in entry["vulns"] if hole["id"] not in EXCUSED]
    for entry, hole in found:
        fixed = ", ".join(hole["fix_versions"]) or "nowhere yet"
        print(f"{entry['name']} {entry['version']}: {hole['id']}, fixed in {fixed}", file=sys.stderr)
    if known and not found:
        print(f"{len(known)} requirements have no known holes.")
    return 1 if found else 0


def _pinned(files: list[str]) -> set[str]:
    lines = [line for file in files for line in Path(file).read_text(encoding="utf-8").splitlines()]
    return {line.split("==")[0].split("[")[0] for line in lines if "==" in line and not line.startswith((" ", "#"))}


def _ask(files: list[str]) -> list[dict[str, Any]]:
    """One entry per requirement; without `vulns` if none is known. Empty if no database answers."""
    options = [option for file in files for option in ("--requirement", file)]
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--disable-pip",
        "--require-hashes",
        "--format",
        "json",
        "--timeout",
        "10",
    ]
    try:
        done = subprocess.run(
            [*command, "--progress-spinner", "off", *options],
            capture_output=True,
            text=True,
            check=False,
            timeout=WITHIN_S,
        )
        entries: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return []
    return entries


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
