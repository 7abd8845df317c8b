from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('taskhub', '0083_unchecked_environments'),
    ]

    operations = [
        migrations.AddField(
            model_name='admissionstate',
            name='cpu_ceiling',
            field=models.PositiveIntegerField(help_text='CPUs that our sandboxes may have together.', null=True),
        ),
        migrations.AddField(
            model_name='admissionstate',
            name='disk_ceiling',
            field=models.PositiveIntegerField(help_text='GiB of disk, likewise.', null=True),
        ),
        migrations.AddField(
            model_name='admissionstate',
            name='memory_ceiling',
            field=models.PositiveIntegerField(help_text='GiB of memory, likewise.', null=True),
        ),
        migrations.AddField(
            model_name='environmentversion',
            name='cpu',
            field=models.PositiveIntegerField(editable=False, help_text='CPUs. Empty: no sandbox was made in it.', null=True),
        ),
        migrations.AddField(
            model_name='environmentversion',
            name='disk',
            field=models.PositiveIntegerField(editable=False, help_text='GiB of disk, likewise.', null=True),
        ),
        migrations.AddField(
            model_name='environmentversion',
            name='memory',
            field=models.PositiveIntegerField(editable=False, help_text='GiB of memory, likewise.', null=True),
        ),
        migrations.AddField(
            model_name='execution',
            name='cpu',
            field=models.PositiveIntegerField(editable=False, help_text='CPUs of its sandbox. Empty: what the sandbox service gives unasked.', null=True),
        ),
        migrations.AddField(
            model_name='execution',
            name='disk',
            field=models.PositiveIntegerField(editable=False, help_text='GiB of disk, likewise.', null=True),
        ),
        migrations.AddField(
            model_name='execution',
            name='memory',
            field=models.PositiveIntegerField(editable=False, help_text='GiB of memory, likewise.', null=True),
        ),
        migrations.AddField(
            model_name='execution',
            name='passed_over_at',
            field=models.DateTimeField(editable=False, help_text='Since when it is the first in the queue and smaller ones go before it.', null=True),
        ),
    ]
