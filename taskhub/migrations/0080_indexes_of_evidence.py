from django.db import migrations, models

from taskhub.migrations._online_index import AddIndexOnline


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("taskhub", "0079_evidence"),
    ]

    operations = [
        AddIndexOnline(
            model_name="task",
            index=models.Index(fields=["verified"], name="task_verified", condition=~models.Q(verified="")),
        ),
        AddIndexOnline(
            model_name="execution",
            index=models.Index(
                fields=["retry_at"], name="execution_retry", condition=models.Q(retry_at__isnull=False)
            ),
        ),
    ]
