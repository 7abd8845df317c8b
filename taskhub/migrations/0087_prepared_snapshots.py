import uuid

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("taskhub", "0086_index_of_claims_list"),
    ]

    operations = [
        migrations.CreateModel(
            name="PreparedSnapshot",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(help_text="Of the snapshot, at the sandbox service.", max_length=100)),
                ("snapshot_id", models.CharField(blank=True, db_default="", default="", max_length=100)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("preparing", "Prepare runs"),
                            ("snapshotting", "The snapshot is made"),
                            ("active", "Active"),
                            ("failed", "Failed"),
                            ("removing", "Being removed"),
                        ],
                        default="waiting",
                        max_length=20,
                    ),
                ),
                ("since", models.DateTimeField(help_text="When it came into this state.")),
                ("begun_at", models.DateTimeField(help_text="When prepare began in the sandbox.", null=True)),
                ("holds_sandbox", models.BooleanField(db_default=False, default=False)),
                ("holds_snapshot", models.BooleanField(db_default=False, default=False)),
                ("error_code", models.CharField(blank=True, db_default="", default="", max_length=50)),
                ("error_message", models.TextField(blank=True, db_default="", default="")),
                (
                    "log_tail",
                    models.TextField(
                        blank=True, db_default="", default="", help_text="Last lines of a prepare that failed."
                    ),
                ),
                (
                    "attempts",
                    models.PositiveIntegerField(
                        db_default=0, default=0, help_text="Tries in a row that led nowhere."
                    ),
                ),
                ("due_at", models.DateTimeField(help_text="Not looked at before. Empty: now.", null=True)),
                ("lease_until", models.DateTimeField(null=True)),
                ("fence", models.PositiveIntegerField(db_default=0, default=0)),
                (
                    "cpu",
                    models.PositiveIntegerField(
                        help_text="CPUs of its sandbox. Empty: what the service gives unasked.", null=True
                    ),
                ),
                ("memory", models.PositiveIntegerField(help_text="GiB of memory, likewise.", null=True)),
                ("disk", models.PositiveIntegerField(help_text="GiB of disk, likewise.", null=True)),
                (
                    "version",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="prepared",
                        to="taskhub.environmentversion",
                    ),
                ),
            ],
            options={
                "ordering": ["since"],
                "indexes": [models.Index(fields=["name"], name="prepared_name")],
            },
        ),
    ]
