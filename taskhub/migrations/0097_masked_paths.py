from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("taskhub", "0096_orders_of_tasks"),
    ]

    operations = [
        migrations.AddField(
            model_name="artifact",
            name="path_is_masked",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AlterField(
            model_name="task",
            name="open_blockers",
            field=models.PositiveIntegerField(
                db_default=0, default=0, editable=False, help_text="Tasks that it waits for."
            ),
        ),
    ]
