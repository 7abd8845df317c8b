"""Time limits of PostgreSQL connections: for a lock, a statement, an idle transaction.

The limits of all connections are settings (`config.env.database`): a forgotten transaction of another client blocks
the hub for no longer. Migrations and retention have limits of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.db import connection, connections
from django.db.models.signals import post_migrate, pre_migrate

MIGRATION_LOCK_S: Final = 10
"""While a migration waits for a table, all later requests for that table wait behind it."""


@contextmanager
def time_limits(*, lock_s: int, statement_s: int) -> Iterator[None]:
    """Other limits for the thread's connection; 0 is none. Elsewhere than on PostgreSQL nothing changes.

    Raises DatabaseError.
    """
    _set(connection, lock_s=lock_s, statement_s=statement_s)
    try:
        yield
    finally:
        if connection.is_usable():
            _reset(connection)


@contextmanager
def retention() -> Iterator[None]:
    """The limits of a job that deletes what is old, which may be much after a long pause. Also a decorator."""
    with time_limits(lock_s=30, statement_s=600):
        yield


def _set(on: Any, *, lock_s: int, statement_s: int) -> None:
    if on.vendor == "postgresql":
        with on.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('lock_timeout', %s, false), set_config('statement_timeout', %s, false)",
                [f"{lock_s}s", f"{statement_s}s"],
            )


def _reset(on: Any) -> None:
    if on.vendor == "postgresql":
        with on.cursor() as cursor:
            cursor.execute(
                "SELECT set_config(name, reset_val, false) FROM pg_settings "
                "WHERE name IN ('lock_timeout', 'statement_timeout')"
            )


def connect() -> None:
    """Give `manage.py migrate` its own limits: a long statement is right there, a long wait for a table is not."""
    pre_migrate.connect(_before, weak=False, dispatch_uid="taskhub.lib.database_limits")
    post_migrate.connect(_after, weak=False, dispatch_uid="taskhub.lib.database_limits")


def _before(using: str, **_: Any) -> None:
    _set(connections[using], lock_s=MIGRATION_LOCK_S, statement_s=0)


def _after(using: str, **_: Any) -> None:
    _reset(connections[using])
