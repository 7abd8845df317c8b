"""`manage.py`: Django's commands, about the hub that runs, with errors of settings and database in one sentence."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import Error as DatabaseError
from django.db import connection

from config.launcher.running import SeveralHubsError, choose_data_dir, running_on

_LOCAL = "config.settings.local"
TRIES = 5
DEADLOCK = "40P01"
"""PostgreSQL's code."""


def run(arguments: list[str]) -> int:
    """Returns the exit code."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", _LOCAL)
    try:
        if os.environ["DJANGO_SETTINGS_MODULE"] == _LOCAL:
            use_running_hub()
        _execute(arguments)
    except (SeveralHubsError, ImproperlyConfigured) as error:
        return _refuse(str(error))
    except DatabaseError as error:
        if "--traceback" in arguments:
            raise
        return _refuse(_explain(error))
    return 0


def _execute(arguments: list[str]) -> None:
    """A migration that PostgreSQL ended for a deadlock with a running process is undone whole, and tried again."""
    tries_left = TRIES if arguments[1:2] == ["migrate"] else 1
    while True:
        tries_left -= 1
        try:
            execute_from_command_line(arguments)
        except DatabaseError as error:
            if not tries_left or getattr(error.__cause__, "sqlstate", None) != DEADLOCK:
                raise
            connection.close()
            sys.stderr.write("PostgreSQL ended a migration for a deadlock with a running process; it is tried again.\n")
        else:
            return


def use_running_hub() -> None:
    """Set what the hub on the chosen data folder runs with; what the environment sets already, stays."""
    data_dir = choose_data_dir(os.environ)
    os.environ.setdefault("TASKHUB_DATA_DIR", str(data_dir))
    hub = running_on(data_dir)
    for name, value in (hub.settings if hub else {}).items():
        other = name.removesuffix("_FILE") if name.endswith("_FILE") else f"{name}_FILE"
        if not os.environ.get(name) and not os.environ.get(other):
            os.environ[name] = value


def _explain(error: DatabaseError) -> str:
    if connection.vendor == "sqlite":
        path = Path(str(connection.settings_dict["NAME"]))
        if _is_empty(path):
            folder = path.parent
            return f"There is no database in {folder} yet. `make run` makes one; TASKHUB_DATA_DIR names another folder."
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return f"The database cannot be used: {reason} (--traceback shows where.)"


def _is_empty(path: Path) -> bool:
    """SQLite makes a file without tables of each that is to be read."""
    if not path.exists():
        return True
    with closing(sqlite3.connect(path)) as database:
        return not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


def _refuse(sentence: str) -> int:
    sys.stderr.write(f"{sentence[:1].upper()}{sentence[1:]}\n")
    return 1
