from django.db import migrations, models

from taskhub.migrations._online_index import AddIndexOnline


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("taskhub", "0082_sign_on"),
    ]

    operations = [
        AddIndexOnline(model_name="claim", index=models.Index(fields=["begun_at"], name="claim_newest")),
    ]
