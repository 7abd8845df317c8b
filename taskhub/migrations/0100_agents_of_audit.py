"""Audit entries name the agent. Those from before have the token alone."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("taskhub", "0099_indexes_of_lists"),
    ]

    operations = [
        migrations.AddField(
            model_name="auditentry",
            name="agent",
            field=models.CharField(
                blank=True, db_default="", default="", help_text="The agent's name. Empty: a person.", max_length=100
            ),
        ),
    ]
