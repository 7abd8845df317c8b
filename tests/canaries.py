"""Canaries: values that must be found nowhere, and scripts that use them in every way a script does."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

SCRIPT = """
for name in ${USED:-${!CANARY_@}}; do
  value=${!name}
  echo "printed: $value, ${#value} characters"
  printf '%s' "${value:0:9}"; printf '%s\\n' "${value:9}" >&1
  cd "/of-no-such-name/$value"
  { set -x; : "$value"; test "$value" = another; set +x; }
  bash -c 'echo "failed with $1" >&2; exit 3' - "$value"
  echo "its content: none" >"$value.txt"
done
mkdir -p "out/$value"; echo result >"out/$value/$value"
"""
"""Each variable, or the one that `USED` names: printed, whole and in parts; in errors of failing commands; in `set -x`;
in names of files and folders."""


def canaries(word: str, count: int) -> dict[str, str]:
    """Variables for the script; `word` tells whose they are where one is found."""
    return {f"CANARY_{n}": f"canary-{word}-{n:03}-of-this-test" for n in range(count)}


def found_in(content: bytes, values: Iterable[str]) -> set[str]:
    return {value for value in values if value.encode() in content}


def files_below(folder: Path, *, besides: str = "") -> bytes:
    """Names and contents of all files; not of what is in a folder of the name `besides`."""
    paths = [path for path in folder.rglob("*") if not (besides and besides in path.relative_to(folder).parts)]
    names = "\n".join(str(path) for path in paths).encode()
    return names + b"\n".join(path.read_bytes() for path in paths if path.is_file() and not path.is_symlink())
