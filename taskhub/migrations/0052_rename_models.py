"""New names for three models; their tables keep theirs.

The table's name is written down first: RenameModel then changes no table, and, as an operation of the top level, takes
the content types (and with them permissions and the admin's history) along.
"""

from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('taskhub', '0051_was_private'),
    ]

    operations = [
        migrations.AlterModelTable(name='listener', table='taskhub_listener'),
        migrations.RenameModel(old_name='Listener', new_name='StreamConnection'),
        migrations.AlterModelTable(name='measure', table='taskhub_measure'),
        migrations.RenameModel(old_name='Measure', new_name='MetricSample'),
        migrations.AlterModelTable(name='measuretotal', table='taskhub_measuretotal'),
        migrations.RenameModel(old_name='MeasureTotal', new_name='MetricTotal'),
    ]
