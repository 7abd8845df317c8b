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
    ]
