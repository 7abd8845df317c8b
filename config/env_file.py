"""`.env`: settings from a file in the project's root; the environment wins.

`NAME=value`, one a line, read by python-dotenv: blank lines, comments, quotes and `export` as a shell has them. Values
are taken as they are (no `${…}`). `TASKHUB_ENV_FILE` names another file; empty means none.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]


class EnvFileRefused(Exception):
    """The message names the file, the line and what is wrong with it; never a value."""


def load(environment: MutableMapping[str, str] = os.environ) -> None:
    """Add what the file sets to the environment. Raises EnvFileRefused: a file that is half understood is worse."""
    name = environment.get("TASKHUB_ENV_FILE")
    path = Path(name) if name else ROOT / ".env"
    if name == "" or (name is None and not path.is_file()):  # a folder of that name is a virtual environment
        return
    if find_spec("dotenv") is None:
        return  # Nothing is installed here: the program goes on by another Python (`project_python`), which reads it.
    for key, value in read(path).items():
        environment.setdefault(key, value)


def read(path: Path) -> dict[str, str]:
    """Raises EnvFileRefused."""
    from dotenv.parser import parse_stream  # noqa: PLC0415 - it may be missing

    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise EnvFileRefused(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise EnvFileRefused(f"{path} is not UTF-8.") from None
    found: dict[str, str] = {}
    for binding in parse_stream(StringIO(text)):
        line = binding.original.line + _blank_lines(binding.original.string)
        if binding.error or (binding.key is not None and binding.value is None):
            raise EnvFileRefused(f"{path}, line {line}: write NAME=value; a value with blanks or # in 'single quotes'.")
        if binding.key is None or binding.value is None:
            continue  # a comment
        if "\0" in binding.key + binding.value:
            raise EnvFileRefused(f"{path}, line {line}: a NUL character cannot be in the environment.")
        found[binding.key] = binding.value
    return found


def _blank_lines(text: str) -> int:
    """The parser takes the blank lines before a statement for a part of it."""
    return text[: len(text) - len(text.lstrip())].count("\n")
