"""Migration operation: an index that is built while the table is written to.

Migrations run while the previous release serves (docs/deploy.md). On PostgreSQL a plain CREATE INDEX holds up every
write to the table until it is built. The migration needs `atomic = False`.
"""

from __future__ import annotations

from typing import Any

from django.db.migrations import AddIndex


class AddIndexOnline(AddIndex):
    """As `AddIndex`. What an attempt that was interrupted has left, an index that is not valid, is dropped first."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            name = schema_editor.quote_name(self.index.name)
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            schema_editor.add_index(model, self.index, concurrently=True)
