"""Indexes of lists: tasks by the status of their newest run; and five fewer, as lists are read in parts by status.

The release before this one makes runs without unmarking older ones: that costs a look at these rows, and hides none. It
reads lists more slowly without the five, and loses nothing (`taskhub/api/task_pages.py`).
"""

from typing import Any

from django.db import migrations, models

from taskhub.migrations._online_index import AddIndexOnline

UNMARK = """
UPDATE taskhub_execution SET newest = %s WHERE kind = 'run' AND EXISTS (
    SELECT 1 FROM taskhub_execution newer WHERE newer.task_id = taskhub_execution.task_id AND newer.kind = 'run'
        AND newer.queued_at > taskhub_execution.queued_at
)
"""


def unmark(apps: Any, schema_editor: Any) -> None:
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(UNMARK, [False])


class RemoveIndexOnline(migrations.RemoveIndex):
    """As `RemoveIndex`, while the table is written to. The migration needs `atomic = False`."""

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
        ("taskhub", "0098_newest_executions"),
    ]

    operations = [
        migrations.RunPython(unmark, migrations.RunPython.noop),
        AddIndexOnline(
            model_name="execution",
            index=models.Index(
                condition=models.Q(("kind", "run"), ("newest", True)),
                fields=["status", "task"],
                name="execution_last_of_task",
            ),
        ),
        *(
            RemoveIndexOnline(model_name="task", name=name)
            for name in ("task_updated", "task_title", "task_urgent", "task_rank", "task_status_urgent")
        ),
    ]
