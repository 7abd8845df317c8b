import django.db.models.deletion
from django.db import migrations, models

from taskhub.migrations._lock_tables import HOT, LockTables

POLICIES = [("off", "Off"), ("warn", "Warn"), ("required", "Required")]
VERDICTS = [("passed", "Passed"), ("failed", "Failed"), ("unavailable", "Unavailable")]


class Migration(migrations.Migration):
    dependencies = [
        ("taskhub", "0078_network_closed"),
    ]

    operations = [
        LockTables(*HOT),
        migrations.AddField(
            model_name="artifact",
            name="sha256",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Of its content; empty: kept by an old release.",
                max_length=64,
            ),
        ),
        migrations.AddField(
            model_name="execution",
            name="kind",
            field=models.CharField(
                choices=[("run", "Run"), ("verify", "Verification")],
                db_default="run",
                default="run",
                max_length=6,
            ),
        ),
        migrations.AddField(
            model_name="execution",
            name="files_digest",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                help_text="SHA-256 over the paths and digests of the files that were kept. Empty: none were.",
                max_length=64,
            ),
        ),
        migrations.AddField(
            model_name="execution",
            name="evidence_left_out",
            field=models.PositiveIntegerField(
                db_default=0, default=0, editable=False, help_text="Files that had to be kept and were not."
            ),
        ),
        migrations.AddField(
            model_name="execution",
            name="checks",
            field=models.ForeignKey(
                db_index=False,
                editable=False,
                help_text="Of a verification: the run that left what it checks.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="taskhub.execution",
            ),
        ),
        migrations.AddField(
            model_name="execution",
            name="fingerprint",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                help_text="Of a verification: SHA-256 over what it checks (`selectors/evidence.py`).",
                max_length=64,
            ),
        ),
        migrations.AddField(
            model_name="execution",
            name="verdict",
            field=models.CharField(
                blank=True,
                choices=VERDICTS,
                db_default="",
                default="",
                editable=False,
                help_text="Of a verification that has ended.",
                max_length=11,
            ),
        ),
        migrations.AddField(
            model_name="execution",
            name="superseded",
            field=models.BooleanField(
                db_default=False,
                default=False,
                editable=False,
                help_text="A verification that is being ended, since the task is executed again.",
            ),
        ),
        migrations.AddField(
            model_name="execution",
            name="retry_at",
            field=models.DateTimeField(
                editable=False, help_text="When a verification that the service failed is repeated.", null=True
            ),
        ),
        migrations.AddField(
            model_name="execution",
            name="retries",
            field=models.ForeignKey(
                db_index=False,
                editable=False,
                help_text="The verification that this one repeats.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="taskhub.execution",
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="verify",
            field=models.TextField(
                blank=True,
                db_default="",
                default="",
                help_text="Script that checks the work, beside the environment's.",
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="verify_policy",
            field=models.CharField(
                choices=POLICIES,
                db_default="off",
                default="off",
                help_text="Whether the task needs a passed verification to be done; the environment's counts where "
                "stricter.",
                max_length=8,
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="verified",
            field=models.CharField(
                blank=True,
                choices=VERDICTS,
                db_default="",
                default="",
                editable=False,
                help_text="Verdict on the work as it is now. Empty: there is none.",
                max_length=11,
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="verified_by",
            field=models.ForeignKey(
                db_index=False,
                editable=False,
                help_text="The verification that the last verdict is from.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="taskhub.execution",
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="verify_failures",
            field=models.PositiveIntegerField(
                db_default=0,
                default=0,
                editable=False,
                help_text="Verifications in a row that failed, since it was told.",
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="override_reason",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                help_text="Why an operator set it to done without a passed verification.",
                max_length=500,
            ),
        ),
        # While the new one is made, the old one, which is stricter, holds as well.
        migrations.AddConstraint(
            model_name="execution",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status__in", ("queued", "starting", "running")), ("superseded", False)),
                fields=("task",),
                name="execution_one_at_a_time",
            ),
        ),
        migrations.RemoveConstraint(model_name="execution", name="execution_one_active"),
    ]
