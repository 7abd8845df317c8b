"""System checks: unsafe combinations of settings stop every command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004 - Django's name
from django.db import DatabaseError, connection
from django.db.migrations.recorder import MigrationRecorder

from taskhub.models import USUAL_SIZE, Environment
from taskhub.models.search_index import search_index_missing
from taskhub.services.sandbox_sizes import SETTINGS, WORDS, capacity_limits

_WITH_SEARCH_INDEX = "0096_orders_of_tasks"
"""The first migration behind which it is made."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]", "testserver"})


@register(Tags.security)
def open_reading_stays_on_loopback(**_: Any) -> list[CheckMessage]:
    if not settings.TASKHUB_OPEN_READING or set(settings.ALLOWED_HOSTS) <= _LOOPBACK:
        return []
    return [
        Error(
            "Reading is open, but ALLOWED_HOSTS has names other than loopback.",
            hint="Set TASKHUB_OPEN_READING to False, or ALLOWED_HOSTS to loopback names only.",
            id="taskhub.E001",
        )
    ]


@register(Tags.security)
def debug_stays_on_loopback(**_: Any) -> list[CheckMessage]:
    if not settings.DEBUG or set(settings.ALLOWED_HOSTS) <= _LOOPBACK:
        return []
    return [Error("DEBUG is on for a public host.", hint="Set DEBUG to False.", id="taskhub.E002")]


@register(Tags.database)
def default_environment_is_open_to_all(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """With the checks of `migrate`. The tables of a first installation are not there yet."""
    name = settings.TASKHUB_DEFAULT_ENVIRONMENT
    if not name or not databases:
        return []
    try:
        found = Environment.objects.filter(name=name, deleted_at=None).first()
    except DatabaseError:
        return []
    if found is not None and found.open_to_all:
        return []
    wrong = "does not exist" if found is None else "is not open to all accounts"
    return [
        Warning(
            f"TASKHUB_DEFAULT_ENVIRONMENT is {name}, which {wrong}: executions that name no environment are refused.",
            hint=f"Create the environment {name} with allowed: null, or empty the setting.",
            id="taskhub.W001",
        )
    ]


@register(Tags.database)
def searches_have_an_index(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """With the checks of `migrate`, but not of the one that makes the index afterwards."""
    if not databases:
        return []
    try:
        made = MigrationRecorder(connection).migration_qs.filter(app="taskhub", name=_WITH_SEARCH_INDEX).exists()
        missing = search_index_missing() if made else []
    except DatabaseError:
        return []
    if not missing:
        return []
    return [
        Warning(
            f"Searches read all tasks: {', '.join(missing)} is missing.",
            hint="Run manage.py migrate. On PostgreSQL, let a superuser run CREATE EXTENSION pg_trgm in the hub's "
            "database first; on SQLite, use 3.34 or newer with FTS5.",
            id="taskhub.W003",
        )
    ]


@register()
def one_sandbox_fits(**_: Any) -> list[CheckMessage]:
    """A sandbox for which no size is asked must fit into the sums that the settings allow."""
    return [
        Warning(
            f"{SETTINGS[name]} is {limit}, less than the {getattr(USUAL_SIZE, name)} {WORDS[name]} of a sandbox for "
            "which no size is asked: executions without an environment fail.",
            hint=f"Set {SETTINGS[name]} to the sum for all sandboxes, or to 0 for no limit.",
            id="taskhub.W002",
        )
        for name, limit in capacity_limits().items()
        if limit < getattr(USUAL_SIZE, name)
    ]
