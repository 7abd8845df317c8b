"""Wording of help texts; no change of tables."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('sandboxes', '0002_rename_webhook_delivery'),
    ]

    operations = [
        migrations.AlterField(
            model_name='poll',
            name='skipped',
            field=models.PositiveBigIntegerField(default=0, help_text='Ticks skipped because the previous one was still running.'),
        ),
        migrations.AlterField(
            model_name='poll',
            name='watched',
            field=models.PositiveIntegerField(help_text='Sandboxes polled in the last tick.'),
        ),
        migrations.AlterField(
            model_name='sandbox',
            name='seen_at',
            field=models.DateTimeField(help_text='When Daytona last reported it.'),
        ),
        migrations.AlterField(
            model_name='subscription',
            name='address',
            field=models.CharField(blank=True, default='', help_text="The client's address.", max_length=45),
        ),
        migrations.AlterField(
            model_name='subscription',
            name='events',
            field=models.BigIntegerField(default=0, help_text='Events sent so far; written every 10 s.'),
        ),
    ]
