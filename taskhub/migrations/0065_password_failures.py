from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("taskhub", "0064_private_readers"),
    ]

    operations = [
        migrations.CreateModel(
            name="PasswordFailures",
            fields=[
                ("key", models.CharField(max_length=64, primary_key=True, serialize=False)),
                (
                    "account",
                    models.CharField(db_index=True, help_text="Digest of the account's name.", max_length=64),
                ),
                ("failures", models.PositiveIntegerField(db_default=0, default=0)),
                ("until", models.DateTimeField(db_index=True, help_text="When it is forgotten.")),
            ],
        ),
    ]
