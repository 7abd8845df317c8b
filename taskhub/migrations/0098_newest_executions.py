"""A mark of executions: whether it may be the newest run of its task. Migration 0099 takes it from older ones."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("taskhub", "0097_masked_paths"),
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
    ]
