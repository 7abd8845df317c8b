"""Lists of tasks are read in parts by status: five indexes of the same orders go (`taskhub/api/task_pages.py`).

On PostgreSQL an index is dropped while the table is written to. The release before this one reads lists more slowly
without them, and loses nothing.
"""

from typing import Any

from django.db import migrations


class RemoveIndexOnline(migrations.RemoveIndex):
    """As `RemoveIndex`, without waiting for those who use the table. The migration needs `atomic = False`."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(self.name)}")


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("taskhub", "0096_orders_of_tasks"),
    ]

    operations = [
        RemoveIndexOnline(model_name="task", name=name)
        for name in ("task_updated", "task_title", "task_urgent", "task_rank", "task_status_urgent")
    ]
