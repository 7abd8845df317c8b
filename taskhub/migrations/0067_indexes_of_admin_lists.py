from django.db import migrations, models

from taskhub.migrations._online_index import AddIndexOnline


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("taskhub", "0065_password_failures"),
    ]

    operations = [
        AddIndexOnline(
            model_name="execution",
            index=models.Index(fields=["-queued_at", "-id"], name="execution_newest"),
        ),
        AddIndexOnline(
            model_name="execution",
            index=models.Index(fields=["status", "-queued_at", "-id"], name="execution_status_newest"),
        ),
        AddIndexOnline(
            model_name="execution",
            index=models.Index(fields=["finished_at"], name="execution_finished"),
        ),
        AddIndexOnline(
            model_name="webhookdelivery",
            index=models.Index(fields=["status", "-created_at", "-id"], name="webhook_delivery_status"),
        ),
    ]
