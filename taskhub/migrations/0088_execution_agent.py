import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("taskhub", "0087_prepared_snapshots"),
    ]

    operations = [
        migrations.AddField(
            model_name="execution",
            name="agent",
            field=models.ForeignKey(
                db_index=False,
                editable=False,
                help_text="Agent of that account that asked for it. Empty: a person or the hub did, or it is not known.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="taskhub.agent",
            ),
        ),
    ]
