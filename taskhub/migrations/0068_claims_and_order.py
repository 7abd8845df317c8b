"""Agents, claims, dependencies and roles of tokens; the makers of tasks, where the audit knows them."""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models.functions import Coalesce

from taskhub.migrations._lock_tables import LockTables


def fill_makers(apps, schema_editor):
    entries = apps.get_model("taskhub", "AuditEntry").objects
    made = entries.filter(task_id=models.OuterRef("pk"), action="task:create").order_by("id").values("actor_name")[:1]
    tasks = apps.get_model("taskhub", "Task").objects.filter(created_by="")
    tasks.update(created_by=Coalesce(models.Subquery(made), models.Value("")))


class Migration(migrations.Migration):
    dependencies = [
        ("taskhub", "0067_indexes_of_admin_lists"),
    ]

    operations = [
        LockTables("task", "apitoken"),
        migrations.CreateModel(
            name="Agent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("account", models.CharField(help_text="Name of the account.", max_length=150)),
                ("name", models.CharField(help_text="As it calls itself, else the name of its token.", max_length=100)),
                ("token_id", models.UUIDField(help_text="Public id of the token that it used last.", null=True)),
                ("last_seen_at", models.DateTimeField(help_text="Written at most once a minute.")),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("account", "name"), name="agent_once")],
            },
        ),
        migrations.AddField(
            model_name="apitoken",
            name="role",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="The most that it may do; empty: what its account may.",
                max_length=8,
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="attempts",
            field=models.PositiveIntegerField(
                db_default=0, default=0, editable=False, help_text="Claims since review, done, or a person's release."
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="closed_as",
            field=models.CharField(
                blank=True,
                choices=[("cancelled", "Cancelled"), ("duplicate", "Duplicate")],
                db_default="",
                default="",
                help_text="Why nothing came of a task that is done.",
                max_length=9,
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="created_by",
            field=models.CharField(
                blank=True, db_default="", default="", editable=False, help_text="Account that made it.", max_length=150
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="failures",
            field=models.PositiveIntegerField(
                db_default=0, default=0, editable=False, help_text="Those of them that were lost or failed."
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="held_back",
            field=models.BooleanField(
                db_default=False,
                default=False,
                editable=False,
                help_text="No agent may claim it until a person releases it.",
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="holder",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                help_text="Agent that holds it, as account/name. Empty: none does.",
                max_length=251,
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="open_blockers",
            field=models.PositiveIntegerField(
                db_default=0, default=0, editable=False, help_text="Tasks that it waits for (`models/dependency.py`)."
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="handed_over_by",
            field=models.ForeignKey(
                editable=False,
                help_text="Agent that handed it over for review; offered to it first where it is sent back.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="taskhub.agent",
            ),
        ),
        migrations.CreateModel(
            name="Claim",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("token", models.CharField(max_length=64, unique=True)),
                ("lease_s", models.PositiveIntegerField(help_text="Length of the lease in seconds.")),
                ("expires_at", models.DateTimeField()),
                (
                    "attempt",
                    models.PositiveIntegerField(
                        help_text="From 1; counted anew after review, done, and a person's release."
                    ),
                ),
                ("begun_at", models.DateTimeField(auto_now_add=True)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "end",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("lost", "Lost: its lease ran out"),
                            ("released", "Released"),
                            ("failed", "Released after a run that failed"),
                            ("handed_over", "Handed over: review or done"),
                            ("taken", "Ended by a person"),
                        ],
                        default="",
                        max_length=11,
                    ),
                ),
                (
                    "ended_by",
                    models.CharField(blank=True, default="", help_text="Person who ended it.", max_length=150),
                ),
                (
                    "task",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="claims", to="taskhub.task"
                    ),
                ),
                (
                    "agent",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="claims", to="taskhub.agent"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Dependency",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "waived_by",
                    models.CharField(
                        blank=True, default="", help_text="Person who waived the blocker.", max_length=150
                    ),
                ),
                (
                    "task",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="dependencies", to="taskhub.task"
                    ),
                ),
                (
                    "blocker",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="dependents", to="taskhub.task"
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "dependencies",
            },
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(fields=["status", "held_back", "open_blockers", "created_at"], name="task_claimable"),
        ),
        migrations.AddIndex(
            model_name="claim",
            index=models.Index(fields=["task", "agent", "-id"], name="claim_of_agent"),
        ),
        migrations.AddIndex(
            model_name="claim",
            index=models.Index(
                condition=models.Q(("ended_at__isnull", True)), fields=["expires_at"], name="claim_held"
            ),
        ),
        migrations.AddConstraint(
            model_name="claim",
            constraint=models.UniqueConstraint(
                condition=models.Q(("ended_at__isnull", True)), fields=("task",), name="claim_one_holder"
            ),
        ),
        migrations.AddConstraint(
            model_name="dependency",
            constraint=models.UniqueConstraint(fields=("task", "blocker"), name="dependency_once"),
        ),
        migrations.AddConstraint(
            model_name="dependency",
            constraint=models.CheckConstraint(
                condition=models.Q(("task", models.F("blocker")), _negated=True), name="dependency_of_another"
            ),
        ),
        migrations.RunPython(fill_makers, migrations.RunPython.noop),
    ]
