"""Migrations: their order, the squashed one, and columns that the previous release can live with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import models
from django.db.migrations import AddField, Migration, SeparateDatabaseAndState
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation

APPS = {"taskhub": "0052", "sandboxes": "0002"}
"""Our apps, and the first migration of each to which the rules apply that began with it."""


@pytest.fixture(scope="module")
def loader() -> MigrationLoader:
    return MigrationLoader(None)


def of(loader: MigrationLoader, app: str) -> list[Migration]:
    found = [migration for (label, _), migration in loader.disk_migrations.items() if label == app]
    return sorted(found, key=lambda migration: migration.name)


@pytest.mark.parametrize("app", APPS)
def test_migrations_stand_in_one_line_by_their_numbers(loader: MigrationLoader, app: str) -> None:
    """Two branches that each add a migration make two of one number; the later one is to be renumbered."""
    names = [migration.name for migration in of(loader, app) if not migration.replaces]
    numbers = [name[:4] for name in names]
    assert len(set(numbers)) == len(numbers)
    for before, migration in zip(names, [each for each in of(loader, app) if not each.replaces][1:], strict=False):
        assert [name for label, name in migration.dependencies if label == app] == [before]
    assert loader.graph.leaf_nodes(app) == [(app, names[-1])]


def test_the_squashed_migration_makes_what_those_make_that_it_replaces() -> None:
    loader = MigrationLoader(None)
    (squashed,) = [migration for migration in of(loader, "taskhub") if migration.replaces]
    assert squashed.replaces == [
        ("taskhub", each.name) for each in of(loader, "taskhub") if not each.replaces and each.name < "0052"
    ]
    made = loader.project_state(("taskhub", squashed.name))
    loader.replace_migrations = False
    loader.build_graph()
    wanted = loader.project_state(("taskhub", "0051_was_private"))
    assert MigrationAutodetector(made, wanted).changes(graph=loader.graph) == {}


def added_fields(operations: list[Operation]) -> Iterator[AddField]:
    for operation in operations:
        if isinstance(operation, SeparateDatabaseAndState):
            yield from added_fields(operation.database_operations)
        elif isinstance(operation, AddField):
            yield operation


def without_default(migration: Migration) -> list[str]:
    """Columns that the previous release cannot leave out when it writes a row, as it does during an upgrade."""
    return [
        f"{migration.name}: {operation.model_name}.{operation.name}"
        for operation in added_fields(migration.operations)
        if not operation.field.many_to_many and not operation.field.null and not operation.field.has_db_default()
    ]


@pytest.mark.parametrize("app", APPS)
def test_an_added_column_has_a_default_in_the_database(loader: MigrationLoader, app: str) -> None:
    assert [name for each in of(loader, app) if each.name >= APPS[app] for name in without_default(each)] == []


def test_one_without_is_found() -> None:
    migration = Migration("0099_some", "taskhub")
    migration.operations = [
        AddField("task", "bad", models.BooleanField(default=False)),
        AddField("task", "good", models.BooleanField(default=False, db_default=False)),
        AddField("task", "absent", models.BooleanField(null=True)),
        SeparateDatabaseAndState([AddField("task", "hidden", models.IntegerField(default=1))], []),
    ]
    assert without_default(migration) == ["0099_some: task.bad", "0099_some: task.hidden"]
