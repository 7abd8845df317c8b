"""Wording of help texts; no change of tables."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('taskhub', '0056_admission'),
    ]

    operations = [
        migrations.AlterField(
            model_name='auditentry',
            name='door',
            field=models.CharField(help_text='rest, mcp, admin, command, or job (the service itself).', max_length=20),
        ),
        migrations.AlterField(
            model_name='auditentry',
            name='subject',
            field=models.CharField(blank=True, default='', help_text='Other object: `token:<id>`, `account:<name>`.', max_length=200),
        ),
        migrations.AlterField(
            model_name='execution',
            name='artifacts_left_out',
            field=models.PositiveIntegerField(default=0, help_text='Files that were not copied: too large, too many, or unreadable.'),
        ),
        migrations.AlterField(
            model_name='execution',
            name='attempts',
            field=models.PositiveSmallIntegerField(default=0, help_text='Attempts to start it.'),
        ),
        migrations.AlterField(
            model_name='execution',
            name='ending',
            field=models.CharField(blank=True, default='', help_text='Status it will have, set while it is being ended.', max_length=9),
        ),
        migrations.AlterField(
            model_name='execution',
            name='files_seen',
            field=models.PositiveIntegerField(default=0, help_text='Number of the last reported file change.'),
        ),
        migrations.AlterField(
            model_name='execution',
            name='released_at',
            field=models.DateTimeField(blank=True, help_text='When its session, and the sandbox created for it, were deleted.', null=True),
        ),
        migrations.AlterField(
            model_name='streamconnection',
            name='account',
            field=models.CharField(blank=True, default='', help_text='Empty: anonymous.', max_length=150),
        ),
        migrations.AlterField(
            model_name='streamconnection',
            name='address',
            field=models.CharField(blank=True, default='', help_text="The client's address.", max_length=45),
        ),
        migrations.AlterField(
            model_name='streamconnection',
            name='filters',
            field=models.JSONField(default=dict, help_text='The requested filters; empty: everything.'),
        ),
        migrations.AlterField(
            model_name='task',
            name='assignee',
            field=models.CharField(blank=True, default='', help_text='Empty: unassigned.', max_length=150),
        ),
        migrations.AlterField(
            model_name='webhookdelivery',
            name='body',
            field=models.TextField(help_text="The request's body, byte for byte."),
        ),
        migrations.AlterField(
            model_name='webhookdelivery',
            name='failures',
            field=models.PositiveIntegerField(default=0, help_text='Failed attempts since it was last requested.'),
        ),
        migrations.AlterField(
            model_name='webhookdelivery',
            name='sequence',
            field=models.PositiveBigIntegerField(help_text="The event's number; empty for a test.", null=True),
        ),
        migrations.AlterField(
            model_name='webhookendpoint',
            name='event_types',
            field=models.JSONField(blank=True, default=list, help_text='The types it receives; empty: all.'),
        ),
        migrations.AlterField(
            model_name='webhookendpoint',
            name='failing_since',
            field=models.DateTimeField(help_text='First failed attempt after the last successful one.', null=True),
        ),
        migrations.AlterField(
            model_name='webhookendpoint',
            name='notice',
            field=models.CharField(blank=True, default='', help_text='Why the hub deactivated it or skipped events.', max_length=300),
        ),
        migrations.AlterField(
            model_name='webhookendpoint',
            name='private',
            field=models.BooleanField(default=False, help_text='Whether it receives private tasks, too.'),
        ),
        migrations.AlterField(
            model_name='webhookendpoint',
            name='resting_until',
            field=models.DateTimeField(help_text='Deliveries are paused until then (Retry-After).', null=True),
        ),
    ]
