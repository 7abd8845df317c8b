"""Migration operation: locks of several tables, taken at once and in the order in which services take them.

Migrations run while the previous release serves (docs/deploy.md). One that changes the table of executions and then
that of tasks holds the first while a service, which has its task's row, waits for it: PostgreSQL ends the migration for
a deadlock, every time where there is much to do.
"""

from __future__ import annotations

from typing import Any

from django.db.migrations.operations.base import Operation

HOT = ("task", "execution", "artifact")
"""As services take them."""


class LockTables(Operation):
    """First in its migration. Nothing is done on SQLite, which has one writer."""

    reversible = True

    def __init__(self, *models: str) -> None:
        self.models = models

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return (self.__class__.__qualname__, [*self.models], {})

    def state_forwards(self, app_label: str, state: Any) -> None:
        return

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            return
        tables = [from_state.apps.get_model(app_label, name)._meta.db_table for name in self.models]
        names = ", ".join(schema_editor.quote_name(table) for table in tables)
        schema_editor.execute(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        self.database_forwards(app_label, schema_editor, from_state, to_state)

    def describe(self) -> str:
        return f"Lock the tables of {', '.join(self.models)}"
