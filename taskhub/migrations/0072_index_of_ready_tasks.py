from django.db import migrations, models

from taskhub.migrations._online_index import AddIndexOnline


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("taskhub", "0071_given_files"),
    ]

    operations = [
        AddIndexOnline(
            model_name="task",
            index=models.Index(
                fields=["status", "open_blockers", "-created_at", "-id"],
                name="task_ready",
                condition=models.Q(held_back=False),
            ),
        ),
        migrations.RemoveIndex(model_name="task", name="task_claimable"),
    ]
