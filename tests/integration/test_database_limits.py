"""Time limits of database connections: the settings', and those of retention and migrations. SQLite has none."""

from __future__ import annotations

from contextlib import suppress
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models.signals import post_migrate, pre_migrate

from taskhub.lib.database_limits import MIGRATION_LOCK_S, retention, time_limits

pytestmark = pytest.mark.django_db
OURS = ("5s", "30s")


def limits() -> tuple[str, ...]:
    if connection.vendor != "postgresql":
        return OURS
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout'), current_setting('statement_timeout')")
        found: tuple[str, ...] = cursor.fetchone()
        return found


def expected(*values: str) -> tuple[str, ...]:
    return values if connection.vendor == "postgresql" else OURS


def test_other_limits_hold_inside_only() -> None:
    assert limits() == OURS
    with time_limits(lock_s=7, statement_s=0):
        assert limits() == expected("7s", "0")
    assert limits() == OURS
    with suppress(KeyError), retention():
        assert limits() == expected("30s", "10min")
        raise KeyError
    assert limits() == OURS


def test_a_migration_waits_shortly_for_a_table_and_long_for_a_statement() -> None:
    seen: list[tuple[str, ...]] = []

    def look(**_: object) -> None:
        seen.append(limits())

    pre_migrate.connect(look)
    try:
        call_command("migrate", verbosity=0, stdout=StringIO())
    finally:
        pre_migrate.disconnect(look)
    assert set(seen) == {expected(f"{MIGRATION_LOCK_S}s", "0")}
    assert limits() == OURS
    assert post_migrate.has_listeners()
