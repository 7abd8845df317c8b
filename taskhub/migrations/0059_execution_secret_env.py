from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('taskhub', '0058_help_texts'),
    ]

    operations = [
        migrations.AddField(
            model_name='execution',
            name='secret_env',
            field=models.TextField(blank=True, db_default='', default='', editable=False, help_text='Secret part of the environment, encrypted; deleted with the sandbox.'),
        ),
    ]
