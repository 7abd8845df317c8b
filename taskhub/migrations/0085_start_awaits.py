from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('taskhub', '0084_sandbox_sizes'),
    ]

    operations = [
        migrations.AlterField(
            model_name='execution',
            name='waiting_reason',
            field=models.CharField(blank=True, choices=[('capacity', 'The sandbox service is full'), ('limit', 'The limit of executions at once is reached'), ('paused', 'Starts are paused'), ('image', 'Its image is built or fetched'), ('snapshot', 'Its snapshot is activated'), ('volume', 'Its volumes are made')], db_default='', default='', help_text='Why it waits in the queue, or for what its start waits.', max_length=8),
        ),
    ]
