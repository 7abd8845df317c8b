#!/usr/bin/env python
"""Django's command line, on the local profile unless DJANGO_SETTINGS_MODULE says otherwise.

Any Python may start it, from any folder: it goes on in the project's environment, `.venv`.
"""

from __future__ import annotations

import sys

from config.project_python import goes_on


def main() -> int:
    if not goes_on(*sys.argv):
        return 1
    from config.command_line import run  # noqa: PLC0415 - it needs what may be missing

    return run(sys.argv)


if __name__ == "__main__":
    sys.exit(main())
