from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("taskhub", "0091_execution_variables"),
    ]

    operations = [
        migrations.AddField(
            model_name="execution",
            name="error_detail",
            field=models.TextField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                help_text="What the sandbox service itself said, for operators.",
            ),
        ),
        migrations.AlterField(
            model_name="preparedsnapshot",
            name="log_tail",
            field=models.TextField(
                blank=True,
                db_default="",
                default="",
                help_text="Last lines of a prepare that failed, or what the sandbox service said.",
            ),
        ),
    ]
