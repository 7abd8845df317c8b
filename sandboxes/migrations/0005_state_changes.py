from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("sandboxes", "0004_operators_last_action"),
    ]

    operations = [
        migrations.CreateModel(
            name="StateChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("sandbox_id", models.CharField(max_length=200)),
                ("state", models.CharField(max_length=50)),
                ("at", models.DateTimeField(db_index=True)),
                (
                    "action",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="create, start, stop or delete, where an account asked for it.",
                        max_length=10,
                    ),
                ),
                (
                    "by",
                    models.CharField(
                        blank=True, default="", help_text="The account that asked for it.", max_length=150
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["sandbox_id", "-id"], name="state_change_newest")],
            },
        ),
    ]
