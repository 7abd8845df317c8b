"""The folded text of tasks, filled in batches that each commit by themselves: no table is locked for long."""

from django.db import migrations

import taskhub.models.task
from taskhub.models.task import folded_text

BATCH = 500


def fill(apps, schema_editor):
    """By id, so that a second run goes on where the first one died."""
    tasks = apps.get_model("taskhub", "Task").objects.using(schema_editor.connection.alias)
    last = None
    while True:
        rows = tasks.filter(folded_text="").order_by("pk").only("pk", "title", "description")
        batch = list((rows if last is None else rows.filter(pk__gt=last))[:BATCH])
        if not batch:
            return
        for task in batch:
            tasks.filter(pk=task.pk, title=task.title, description=task.description).update(
                folded_text=folded_text(task.title, task.description)
            )
        last = batch[-1].pk


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("taskhub", "0052_rename_models"),
    ]

    operations = [
        migrations.AddField(
            model_name="task",
            name="folded_text",
            field=taskhub.models.task.FoldedTextField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                help_text="Title and description as searches see them.",
            ),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
