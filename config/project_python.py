"""The project's own Python, `.venv`: a program that another one has started goes on in it."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

_PYTHON = Path(__file__).resolve().parents[1] / ".venv/bin/python"


def goes_on(*arguments: str) -> bool:
    """Whether this Python has what is installed. Else the program with these arguments is started anew, by `.venv`.

    Returns False, and says what to do, only if there is no such environment.
    """
    if find_spec("django_eventstream") is not None:
        return True
    if _PYTHON.exists() and Path(sys.prefix).resolve() != _PYTHON.parents[1].resolve():
        os.execv(_PYTHON, [str(_PYTHON), *arguments])  # noqa: S606 - the same program, by the right Python
    sys.stderr.write("TaskHub is not installed yet: `make install` in the project's folder does it.\n")
    return False
