"""Who could read a task while it was private, and which executions ran then.

The audit entries of before tell both: a span begins with the entry that made the task private. Of the kept events all
count as private that may be: those of a task that is private, and of one that was private before. The release before
this one writes neither table nor column; what it makes private in the minutes of an upgrade is private from its
beginning, as soon as it changes again.
"""

from django.db import migrations, models

BEGINNING = 0


def read_spans(apps, schema_editor):
    entries = apps.get_model("taskhub", "AuditEntry").objects
    readers = apps.get_model("taskhub", "PrivateReader").objects
    counter = apps.get_model("django_eventstream", "EventCounter").objects.filter(name="tasks").first()
    head = counter.value if counter else BEGINNING
    ids = entries.filter(changes__private__isnull=False, task_id__isnull=False).order_by().values_list("task_id", flat=True)
    for task_id in ids.distinct():
        changed = entries.filter(task_id=task_id, action__in=["task:create", "task:update"]).order_by("id")
        spans = []
        private, assignee, since = False, "", BEGINNING
        for pk, changes in changed.values_list("id", "changes").iterator():
            was_private, was_assignee = private, assignee
            private = bool(changes.get("private", [None, private])[1])
            assignee = changes.get("assignee", [None, assignee])[1] or ""
            if was_private and (not private or assignee != was_assignee):
                spans[-1].until_entry, spans[-1].until_event = (pk - 1 if private else pk), head
            if private and not (was_private and assignee == was_assignee):
                since = since if was_private else pk
                spans.append(readers.model(task_id=task_id, account=assignee, since_entry=since, since_event=BEGINNING))
        readers.bulk_create(spans)
        mark_executions(apps, task_id, spans)
    close_open_spans(apps)


def mark_executions(apps, task_id, spans):
    """An execution is from its first audit entry to its last one; a private one belongs to the last span it reached."""
    entries = apps.get_model("taskhub", "AuditEntry").objects
    for execution in apps.get_model("taskhub", "Execution").objects.filter(task_id=task_id).defer("script", "env"):
        bounds = entries.filter(task_id=task_id, execution_id=execution.pk).aggregate(
            first=models.Min("id"), last=models.Max("id")
        )
        if bounds["first"] is None:
            continue
        last = None if execution.status in {"queued", "starting", "running"} else bounds["last"]
        met = [
            span
            for span in spans
            if (last is None or span.since_entry <= last)
            and (span.until_entry is None or bounds["first"] <= span.until_entry)
        ]
        if met:
            ends = [end for end in (last, met[-1].until_entry) if end is not None]
            execution.private_entry = max(min(ends, default=bounds["first"]), met[-1].since_entry)
            execution.save(update_fields=["private_entry"])


def close_open_spans(apps):
    """A private task without any entry, as tests and imports may have made it, is its assignee's from the beginning."""
    readers = apps.get_model("taskhub", "PrivateReader").objects
    tasks = apps.get_model("taskhub", "Task").objects.filter(private=True)
    known = readers.filter(until_entry=None).values("task_id")
    for task in tasks.exclude(pk__in=known).only("pk", "assignee").iterator():
        readers.create(task_id=task.pk, account=task.assignee, since_entry=BEGINNING, since_event=BEGINNING)
        apps.get_model("taskhub", "Execution").objects.filter(task_id=task.pk).update(private_entry=BEGINNING)


class Migration(migrations.Migration):
    dependencies = [
        ("django_eventstream", "0001_initial"),
        ("taskhub", "0062_lease_length"),
    ]

    operations = [
        migrations.CreateModel(
            name="PrivateReader",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("task_id", models.UUIDField()),
                (
                    "account",
                    models.CharField(
                        blank=True, help_text="Empty: it was assigned to no account.", max_length=150
                    ),
                ),
                ("since_entry", models.BigIntegerField(help_text="Id of the first private audit entry.")),
                (
                    "until_entry",
                    models.BigIntegerField(help_text="Id of the last one that the account may read.", null=True),
                ),
                ("since_event", models.BigIntegerField(help_text="Number of the first private event.")),
                (
                    "until_event",
                    models.BigIntegerField(help_text="Number of the last one that the account may read.", null=True),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["task_id", "account"], name="private_reader_of_task"),
                    models.Index(fields=["until_event"], name="private_reader_kept"),
                ],
            },
        ),
        migrations.AddField(
            model_name="execution",
            name="private_entry",
            field=models.BigIntegerField(
                editable=False,
                help_text="Id of the audit entry since which it was private: its readers are those of this entry. "
                "None: its task was public while it ran.",
                null=True,
            ),
        ),
        migrations.RunPython(read_spans, migrations.RunPython.noop),
    ]
