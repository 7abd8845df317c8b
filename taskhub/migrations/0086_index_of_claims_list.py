from django.db import migrations, models

from taskhub.migrations._online_index import AddIndexOnline


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("taskhub", "0085_start_awaits"),
    ]

    operations = [
        AddIndexOnline(model_name="claim", index=models.Index(fields=["begun_at"], name="claim_newest")),
    ]
