"""Tables and roles of version 0.1.0, squashed from eleven migrations.

Their files stay for one release: a database that has some of them only goes on with the others.
"""

import django.core.validators
import django.db.models.deletion
import uuid
from django.conf import settings
from django.db import migrations, models


def make_roles(apps, schema_editor):
    Group = apps.get_model('auth', 'Group')
    for name in ('viewer', 'agent', 'operator'):
        Group.objects.get_or_create(name=name)


class Migration(migrations.Migration):
    initial = True

    replaces = [
        ('taskhub', '0001_initial'),
        ('taskhub', '0002_audit_of_sandboxes'),
        ('taskhub', '0010_access'),
        ('taskhub', '0020_announcements'),
        ('taskhub', '0021_file_changes'),
        ('taskhub', '0022_artifacts'),
        ('taskhub', '0040_listeners'),
        ('taskhub', '0041_measures'),
        ('taskhub', '0042_measure_totals'),
        ('taskhub', '0050_webhooks'),
        ('taskhub', '0051_was_private'),
    ]

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='StreamProcess',
            fields=[
                ('name', models.CharField(help_text='host:pid:start', max_length=200, primary_key=True, serialize=False)),
                ('reported_at', models.DateTimeField(db_index=True)),
                ('report', models.JSONField()),
            ],
            options={
                'verbose_name_plural': 'stream processes',
            },
        ),
        migrations.CreateModel(
            name='Task',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('title', models.CharField(max_length=200)),
                ('description', models.TextField(blank=True, default='', help_text='Markdown.')),
                ('status', models.CharField(choices=[('todo', 'To do'), ('inprogress', 'In progress'), ('review', 'Review'), ('done', 'Done')], default='todo', max_length=10)),
                ('priority', models.CharField(choices=[('low', 'Low'), ('medium', 'Medium'), ('high', 'High')], default='medium', max_length=6)),
                ('assignee', models.CharField(blank=True, default='', help_text='Empty: nobody.', max_length=150)),
                ('tags', models.JSONField(blank=True, default=list, help_text='A list of strings.')),
                ('artifacts', models.JSONField(blank=True, default=list, help_text='A list of strings: paths or URLs.')),
                ('version', models.PositiveIntegerField(default=1, editable=False, validators=[django.core.validators.MinValueValidator(1)])),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('private', models.BooleanField(default=False, help_text='Only its assignee and operators see it.')),
            ],
            options={
                'ordering': ['-created_at', '-id'],
                'indexes': [models.Index(fields=['-created_at', '-id'], name='task_newest'), models.Index(fields=['status', '-created_at'], name='task_status_newest'), models.Index(fields=['assignee', '-created_at'], name='task_assignee_newest')],
                'constraints': [models.CheckConstraint(condition=models.Q(('status__in', ['todo', 'inprogress', 'review', 'done'])), name='task_status_known'), models.CheckConstraint(condition=models.Q(('priority__in', ['low', 'medium', 'high'])), name='task_priority_known')],
            },
        ),
        migrations.CreateModel(
            name='ApiToken',
            fields=[
                ('digest', models.CharField(max_length=128, primary_key=True, serialize=False)),
                ('token_key', models.CharField(db_index=True, max_length=25)),
                ('created', models.DateTimeField(auto_now_add=True)),
                ('expiry', models.DateTimeField(blank=True, null=True)),
                ('name', models.CharField(blank=True, default='', max_length=100)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='auth_token_set', to=settings.AUTH_USER_MODEL)),
                ('public_id', models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
            ],
            options={
                'verbose_name': 'API token',
            },
        ),
        migrations.CreateModel(
            name='AuditEntry',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(auto_now_add=True, db_index=True)),
                ('actor_name', models.CharField(blank=True, default='', help_text='Outlives the account.', max_length=150)),
                ('door', models.CharField(help_text='rest, mcp, admin or command; job for the service itself.', max_length=20)),
                ('action', models.CharField(max_length=50)),
                ('task_id', models.UUIDField(null=True)),
                ('execution_id', models.UUIDField(null=True)),
                ('changes', models.JSONField(default=dict)),
                ('actor', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('sandbox_id', models.CharField(blank=True, default='', max_length=200)),
                ('token_id', models.UUIDField(null=True)),
                ('token_name', models.CharField(blank=True, default='', max_length=100)),
                ('subject', models.CharField(blank=True, default='', help_text='What else it is about: `token:<id>`, `account:<name>`.', max_length=200)),
            ],
            options={
                'verbose_name_plural': 'audit entries',
                'ordering': ['-id'],
                'indexes': [models.Index(fields=['task_id', '-id'], name='audit_task_newest')],
            },
        ),
        migrations.CreateModel(
            name='Announcement',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('level', models.CharField(choices=[('info', 'Info'), ('warning', 'Warning'), ('critical', 'Critical')], default='info', max_length=8)),
                ('text', models.TextField(max_length=1000)),
                ('ends_at', models.DateTimeField(blank=True, help_text='Empty: until it is withdrawn.', null=True)),
                ('made_by_name', models.CharField(blank=True, default='', help_text='Outlives the account.', max_length=150)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('withdrawn_at', models.DateTimeField(blank=True, null=True)),
                ('made_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-created_at', '-id'],
                'indexes': [models.Index(fields=['-created_at', '-id'], name='announcement_newest'), models.Index(condition=models.Q(('withdrawn_at__isnull', True)), fields=['ends_at'], name='announcement_current')],
                'constraints': [models.CheckConstraint(condition=models.Q(('level__in', ['info', 'warning', 'critical'])), name='announcement_level_known')],
            },
        ),
        migrations.CreateModel(
            name='Execution',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('status', models.CharField(choices=[('queued', 'Queued'), ('starting', 'Starting'), ('running', 'Running'), ('completed', 'Completed'), ('failed', 'Failed'), ('stopped', 'Stopped'), ('timed_out', 'Timed out'), ('lost', 'Lost')], default='queued', max_length=9)),
                ('script', models.TextField(help_text='Run with bash.')),
                ('env', models.JSONField(blank=True, default=dict, help_text='Environment of the script: names to strings.')),
                ('timeout_s', models.PositiveIntegerField(help_text='Seconds the script may run.')),
                ('requested_sandbox_id', models.CharField(blank=True, default='', help_text='Empty: make one.', max_length=200)),
                ('sandbox_id', models.CharField(blank=True, default='', max_length=200)),
                ('session_name', models.CharField(max_length=200)),
                ('command_id', models.CharField(blank=True, default='', max_length=200)),
                ('log_file', models.CharField(max_length=200)),
                ('exit_code', models.IntegerField(blank=True, null=True)),
                ('error_code', models.CharField(blank=True, default='', help_text='Why it failed or was lost.', max_length=50)),
                ('error_message', models.CharField(blank=True, default='', max_length=500)),
                ('log_lines', models.PositiveIntegerField(blank=True, help_text='Lines in the archived log.', null=True)),
                ('log_truncated', models.BooleanField(default=False)),
                ('fence', models.PositiveIntegerField(default=0)),
                ('lease_until', models.DateTimeField(blank=True, null=True)),
                ('attempts', models.PositiveSmallIntegerField(default=0, help_text='Times a start was tried.')),
                ('ending', models.CharField(blank=True, default='', help_text='Set when it is being ended: as what.', max_length=9)),
                ('stop_requested_at', models.DateTimeField(blank=True, null=True)),
                ('queued_at', models.DateTimeField(auto_now_add=True)),
                ('started_at', models.DateTimeField(blank=True, null=True)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('released_at', models.DateTimeField(blank=True, help_text='Its session, and the sandbox made for it, are gone.', null=True)),
                ('task', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='executions', to='taskhub.task')),
                ('files_seen', models.PositiveIntegerField(default=0, help_text='Up to which change its files were told of.')),
                ('artifacts_kept', models.PositiveIntegerField(default=0, help_text='Files of its working folder that were copied.')),
                ('artifacts_left_out', models.PositiveIntegerField(default=0, help_text='Those that were not: too large, too many, or not to be read.')),
                ('was_private', models.BooleanField(default=False, help_text='Whether its task was private when it was deleted.')),
            ],
            options={
                'ordering': ['-queued_at', '-id'],
                'indexes': [models.Index(fields=['task', '-queued_at'], name='execution_task_newest'), models.Index(condition=models.Q(('status__in', ('queued', 'starting', 'running'))), fields=['status'], name='execution_active'), models.Index(condition=models.Q(('released_at__isnull', True)), fields=['finished_at'], name='execution_unreleased'), models.Index(fields=['sandbox_id'], name='execution_sandbox')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('status__in', ('queued', 'starting', 'running'))), fields=('task',), name='execution_one_active'), models.CheckConstraint(condition=models.Q(('status__in', ['queued', 'starting', 'running', 'completed', 'failed', 'stopped', 'timed_out', 'lost'])), name='execution_status_known')],
            },
        ),
        migrations.CreateModel(
            name='Artifact',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('path', models.CharField(max_length=1000)),
                ('size', models.PositiveBigIntegerField(help_text='In bytes.')),
                ('stored_as', models.CharField(max_length=100)),
                ('kept_at', models.DateTimeField(auto_now_add=True, db_index=True)),
                ('execution', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='artifacts', to='taskhub.execution')),
            ],
            options={
                'ordering': ['path'],
                'constraints': [models.UniqueConstraint(fields=('execution', 'path'), name='artifact_path')],
            },
        ),
        migrations.CreateModel(
            name='Listener',
            fields=[
                ('id', models.UUIDField(primary_key=True, serialize=False)),
                ('account', models.CharField(blank=True, default='', help_text='Empty: nobody is logged in.', max_length=150)),
                ('address', models.CharField(blank=True, default='', help_text='Where the listener comes from.', max_length=45)),
                ('filters', models.JSONField(default=dict, help_text='What the stream was asked to show; empty: everything.')),
                ('process', models.CharField(db_index=True, help_text='The web process that holds it.', max_length=200)),
                ('opened_at', models.DateTimeField()),
            ],
            options={
                'verbose_name': 'event stream',
                'ordering': ['-opened_at', '-id'],
            },
        ),
        migrations.CreateModel(
            name='Replay',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('numbers', models.JSONField(help_text="The events' numbers, ascending.")),
                ('asked_at', models.DateTimeField(auto_now_add=True)),
                ('listener', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='replays', to='taskhub.listener')),
            ],
        ),
        migrations.CreateModel(
            name='Heartbeat',
            fields=[
                ('name', models.CharField(max_length=20, primary_key=True, serialize=False)),
                ('at', models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name='MeasureTotal',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=30)),
                ('label', models.CharField(max_length=50)),
                ('le', models.CharField(max_length=10)),
                ('count', models.PositiveBigIntegerField()),
                ('total', models.FloatField()),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('name', 'label', 'le'), name='one_measure_total')],
            },
        ),
        migrations.CreateModel(
            name='Measure',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField()),
                ('name', models.CharField(choices=[('stream_seconds', 'seconds that streams were open'), ('stream_events', 'what happened on streams: opened, deliveries, resumes, resets, overflows'), ('stream_ends', 'streams that ended; how'), ('events', 'events that were published; their type'), ('execution_ends', 'executions that ended; how'), ('execution_s', 'seconds that executions ran; how they ended'), ('poll_ms', 'milliseconds that a tick of a poll took; of which poll'), ('upstream_requests', 'requests to Daytona; 2xx, another status, or none'), ('request_ms', 'milliseconds that a request took until its answer; method and status'), ('webhook_attempts', 'milliseconds that an attempt to deliver a webhook took; how it ended')], max_length=30)),
                ('label', models.CharField(blank=True, default='', max_length=50)),
                ('count', models.PositiveBigIntegerField()),
                ('total', models.FloatField()),
                ('most', models.FloatField()),
            ],
            options={
                'indexes': [models.Index(fields=['name', 'at'], name='measure_over_time')],
            },
        ),
        migrations.CreateModel(
            name='WebhookEndpoint',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('url', models.CharField(max_length=2000, verbose_name='URL')),
                ('description', models.CharField(blank=True, default='', max_length=200)),
                ('event_types', models.JSONField(blank=True, default=list, help_text='The types it is told of; empty: all.')),
                ('private', models.BooleanField(default=False, help_text='Whether it is told of private tasks, too.')),
                ('is_active', models.BooleanField(default=True)),
                ('sealed_secret', models.TextField()),
                ('sealed_secret_before', models.TextField(blank=True, default='')),
                ('secret_before_until', models.DateTimeField(null=True)),
                ('cursor', models.PositiveBigIntegerField()),
                ('failing_since', models.DateTimeField(help_text='The first failed attempt after the last one that succeeded.', null=True)),
                ('resting_until', models.DateTimeField(help_text='It has asked (Retry-After) to be left alone.', null=True)),
                ('notice', models.CharField(blank=True, default='', help_text='What happened to it by itself.', max_length=300)),
                ('created_by_name', models.CharField(blank=True, default='', help_text='Outlives the account.', max_length=150)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-created_at', '-id'],
            },
        ),
        migrations.CreateModel(
            name='WebhookDelivery',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, help_text='The header webhook-id.', primary_key=True, serialize=False)),
                ('sequence', models.PositiveBigIntegerField(help_text="The event's number; none for a test.", null=True)),
                ('event_id', models.CharField(blank=True, default='', max_length=100)),
                ('event_type', models.CharField(max_length=100)),
                ('task_id', models.UUIDField(null=True)),
                ('body', models.TextField(help_text='Word for word what is sent.')),
                ('status', models.CharField(choices=[('pending', 'Pending'), ('delivered', 'Delivered'), ('failed', 'Failed')], default='pending', max_length=10)),
                ('attempts', models.PositiveIntegerField(default=0)),
                ('failures', models.PositiveIntegerField(default=0, help_text='Failed attempts since it was last asked for.')),
                ('next_attempt_at', models.DateTimeField()),
                ('lease_until', models.DateTimeField(null=True)),
                ('response_status', models.PositiveSmallIntegerField(null=True)),
                ('error', models.CharField(blank=True, default='', max_length=300)),
                ('took_ms', models.PositiveIntegerField(null=True)),
                ('tries', models.JSONField(default=list, help_text='The latest attempts, the oldest first.')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('delivered_at', models.DateTimeField(null=True)),
                ('endpoint', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='deliveries', to='taskhub.webhookendpoint')),
            ],
            options={
                'verbose_name_plural': 'webhook deliveries',
                'ordering': ['-created_at', '-id'],
                'indexes': [models.Index(fields=['-created_at', '-id'], name='webhook_delivery_newest'), models.Index(fields=['endpoint', '-created_at', '-id'], name='webhook_delivery_of'), models.Index(condition=models.Q(('status', 'pending')), fields=['endpoint', 'next_attempt_at'], name='webhook_delivery_due')],
                'constraints': [models.UniqueConstraint(fields=('endpoint', 'sequence'), name='webhook_delivery_once'), models.CheckConstraint(condition=models.Q(('status__in', ['pending', 'delivered', 'failed'])), name='webhook_delivery_status_known')],
            },
        ),
        migrations.RunPython(make_roles, migrations.RunPython.noop),
    ]
