"""The newest run of each task is marked, with an index of their statuses: lists filter by it.

The release before this one makes runs without unmarking older ones. That costs a look at these rows, and hides none.
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


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("taskhub", "0099_fewer_indexes_of_tasks"),
    ]

    operations = [
        migrations.AddField(
            model_name="execution",
            name="newest",
            field=models.BooleanField(
                db_default=True,
                default=True,
                editable=False,
                help_text="Of a run: whether its task may have no newer one. The newest of a task always has it.",
            ),
        ),
        migrations.RunPython(unmark, migrations.RunPython.noop),
        AddIndexOnline(
            model_name="execution",
            index=models.Index(
                condition=models.Q(("newest", True), ("kind", "run")),
                fields=["status", "task"],
                name="execution_last_of_task",
            ),
        ),
    ]
