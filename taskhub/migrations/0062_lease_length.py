from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('taskhub', '0061_admission_recent_turns'),
    ]

    operations = [
        migrations.AddField(
            model_name='execution',
            name='lease_s',
            field=models.FloatField(blank=True, help_text='The length of the lease in seconds.', null=True),
        ),
    ]
