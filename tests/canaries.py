"""Canaries: values that must be found nowhere, and a script that uses them in every way a script does."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

SCRIPT = """
for name in ${!CANARY_@}; do
  value=${!name}
  echo "printed: $value, ${#value} characters"
  printf '%s' "${value:0:9}"; printf '%s\\n' "${value:9}" >&1
  cd "/of-no-such-name/$value"
  { set -x; : "$value"; test "$value" = another; set +x; }
  bash -c 'echo "failed with $1" >&2; exit 3' - "$value"
  echo "its content: none" >"$value.txt"
done
mkdir -p "out/$CANARY_HUB"; echo result >"out/$CANARY_HUB/$CANARY_HUB"
"""
"""Printed, whole and in parts; in errors of failing commands; in `set -x`; in names of files and folders."""
SHOWN = ("printed: {}, ", "cd: /of-no-such-name/{}: ", "+ : {}", "failed with {}")
"""Parts of the log that it writes, with the value in the place of `{}`."""


def canary(word: str, number: int) -> str:
    """`word` tells whose it is where one is found."""
    return f"canary-{word}-{number:03}-of-this-test"


def found_in(content: bytes, values: Iterable[str]) -> set[str]:
    return {value for value in values if value.encode() in content}


def files_below(folder: Path, *, besides: str = "") -> bytes:
    """Names and contents of all files; not of what is in a folder of the name `besides`."""
    paths = [path for path in folder.rglob("*") if not (besides and besides in path.relative_to(folder).parts)]
    names = "\n".join(str(path) for path in paths).encode()
    return names + b"\n".join(path.read_bytes() for path in paths if path.is_file() and not path.is_symlink())
