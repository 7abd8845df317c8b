"""A new name for a model; its table keeps its own (see taskhub's 0052_rename_models)."""

from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('sandboxes', '0001_initial'),
    ]

    operations = [
        migrations.AlterModelTable(name='webhookdelivery', table='sandboxes_webhookdelivery'),
        migrations.RenameModel(old_name='WebhookDelivery', new_name='DaytonaWebhook'),
        migrations.AlterModelOptions(name='daytonawebhook', options={'verbose_name': 'Daytona webhook'}),
    ]
