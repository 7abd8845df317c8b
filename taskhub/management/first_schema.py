"""Schema of an empty SQLite database: made from the models, in a twentieth of the time that the migrations take.

The migrations of a first start take longer than all else of it together: each alters tables that are empty. The result
is the same, table for table (`tests/integration/test_first_schema.py`), and later migrations go on from it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Final

from django.apps import apps
from django.contrib.auth.models import Group
from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Model

log = logging.getLogger(__name__)

_GROUPS: Final = ("viewer", "agent", "operator")
"""The rows that migrations make in an empty database."""


def first_schema_build() -> None:
    """Make all tables, and record all migrations as applied, in one transaction; nothing where there is any table.

    Call `migrate` afterwards: it finds nothing to apply, and adds permissions as ever. If this fails, it does it all.
    """
    if connection.vendor != "sqlite" or connection.introspection.table_names():
        return
    loader = MigrationLoader(connection)
    recorder = MigrationRecorder(connection)
    try:
        with connection.schema_editor() as editor:
            recorder.ensure_schema()
            for model in _models():
                editor.create_model(model)
            Group.objects.bulk_create(Group(name=name) for name in _GROUPS)
            recorder.migration_qs.bulk_create(
                recorder.Migration(app=app, name=name) for app, name in sorted(loader.disk_migrations)
            )
    except DatabaseError as error:
        log.warning("the first schema is made by migrations (%s: %s)", type(error).__name__, error)


def _models() -> Iterator[type[Model]]:
    """Those of tables; tables of relations are made with them."""
    for model in apps.get_models():
        options: Any = model._meta  # noqa: SLF001 - Django's documented name
        if options.managed and not options.proxy and not options.swapped:
            yield model
