from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("taskhub", "0090_indexes_of_claims"),
    ]

    operations = [
        migrations.AddField(
            model_name="execution",
            name="variables",
            field=models.JSONField(
                editable=False,
                help_text="Names of the variables that the request gave, to whether the value is secret. Empty: not known.",
                null=True,
            ),
        ),
        migrations.AlterField(
            model_name="execution",
            name="env",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text="Plain variables of the script: names to strings. Deleted with the script, when its log is.",
            ),
        ),
    ]
