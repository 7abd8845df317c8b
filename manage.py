#!/usr/bin/env python
"""Django's command line, on the local profile unless DJANGO_SETTINGS_MODULE says otherwise.

Any Python may start it, from any folder: it goes on in the project's environment, `.venv`.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path


def main() -> int:
    if find_spec("django_eventstream") is None:
        _go_on_in_environment()
        sys.stderr.write("TaskHub is not installed yet: `make install` in the project's folder does it.\n")
        return 1
    from config.command_line import run  # noqa: PLC0415 - it needs what may be missing

    return run(sys.argv)


def _go_on_in_environment() -> None:
    """Returns only if there is none."""
    python = Path(__file__).resolve().parent / ".venv/bin/python"
    if python.exists() and Path(sys.prefix).resolve() != python.parents[1].resolve():
        os.execv(python, [str(python), *sys.argv])  # noqa: S606 - the same program, by the right Python


if __name__ == "__main__":
    sys.exit(main())
