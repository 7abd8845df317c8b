from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('taskhub', '0059_was_private_default'),
    ]

    operations = [
        migrations.AddField(
            model_name='execution',
            name='lease_s',
            field=models.FloatField(blank=True, help_text='The length of the lease in seconds.', null=True),
        ),
    ]
