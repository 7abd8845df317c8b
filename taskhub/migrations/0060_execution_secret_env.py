from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('taskhub', '0059_was_private_default'),
    ]

    operations = [
        migrations.AddField(
            model_name='execution',
            name='secret_env',
            field=models.TextField(blank=True, db_default='', default='', editable=False, help_text='Secret part of the environment, encrypted; deleted with the sandbox.'),
        ),
    ]
