"""The schema of a first start: made from the models, it is what the migrations make."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.processes import ROOT

PREPARED = {"auth_user", "taskhub_apitoken", "taskhub_auditentry"}
"""`prepare` makes the operator and a token."""


def made_by(folder: Path, *arguments: str) -> sqlite3.Connection:
    folder.mkdir()
    env = {"PATH": os.environ["PATH"], "TASKHUB_DATA_DIR": str(folder), "TASKHUB_ENV_FILE": ""}
    env["DJANGO_SETTINGS_MODULE"] = "config.settings.local"
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return sqlite3.connect(folder / "taskhub.sqlite3")


def names(database: sqlite3.Connection, statement: str) -> list[str]:
    return sorted(str(name) for (name, *_) in database.execute(statement))


def described(database: sqlite3.Connection) -> dict[str, Any]:
    """Each index as it was made; each table by its columns, in whatever order, its references and its constraints."""
    found: dict[str, Any] = {}
    for name, kind, statement in database.execute("SELECT name, type, sql FROM sqlite_master").fetchall():
        columns = [row[1:] for row in database.execute(f"PRAGMA table_info({name})")]
        references = [row[2:] for row in database.execute(f"PRAGMA foreign_key_list({name})")]
        constraints = re.findall(r'CONSTRAINT "\w+" (?:CHECK|UNIQUE) .*?\)(?=, |\)$)', statement or "")
        found[name] = (sorted(columns), sorted(references), sorted(constraints)) if kind == "table" else statement
    return found


def rows(database: sqlite3.Connection, table: str) -> list[Any]:
    left_out = {"id", "applied"} if table == "django_migrations" else set()
    columns = [
        name for name in names(database, f"SELECT name FROM pragma_table_info('{table}')") if name not in left_out
    ]
    listed = ", ".join(f'"{column}"' for column in columns)
    return sorted(database.execute(f"SELECT {listed} FROM {table}").fetchall(), key=repr)


def test_the_first_schema_is_that_of_the_migrations(tmp_path: Path) -> None:
    with (
        closing(made_by(tmp_path / "first", "prepare")) as first,
        closing(made_by(tmp_path / "migrated", "migrate", "--verbosity", "0")) as migrated,
    ):
        assert described(first) == described(migrated)
        tables = set(names(first, "SELECT name FROM sqlite_master WHERE type = 'table'")) - {"sqlite_sequence"}
        for table in tables - PREPARED:
            assert rows(first, table) == rows(migrated, table), table
