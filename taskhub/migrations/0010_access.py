"""Private tasks, what tokens are called in public, who used which token, and the roles."""

import uuid

from django.db import migrations, models


def name_tokens(apps, schema_editor):
    ApiToken = apps.get_model("taskhub", "ApiToken")
    for digest in ApiToken.objects.values_list("pk", flat=True):
        ApiToken.objects.filter(pk=digest).update(public_id=uuid.uuid4())


def make_roles(apps, schema_editor):
    Group = apps.get_model("auth", "Group")
    for name in ("viewer", "agent", "operator"):
        Group.objects.get_or_create(name=name)


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("taskhub", "0002_audit_of_sandboxes"),
    ]

    operations = [
        migrations.AddField(
            model_name="task",
            name="private",
            field=models.BooleanField(default=False, help_text="Only its assignee and operators see it."),
        ),
        # In two steps: one default for all rows would not be unique.
        migrations.AddField(
            model_name="apitoken",
            name="public_id",
            field=models.UUIDField(default=uuid.uuid4, editable=False, null=True),
        ),
        migrations.RunPython(name_tokens, migrations.RunPython.noop),
        migrations.AlterField(
            model_name="apitoken",
            name="public_id",
            field=models.UUIDField(default=uuid.uuid4, editable=False, unique=True),
        ),
        migrations.AddField(model_name="auditentry", name="token_id", field=models.UUIDField(null=True)),
        migrations.AddField(
            model_name="auditentry",
            name="token_name",
            field=models.CharField(blank=True, default="", max_length=100),
        ),
        migrations.AddField(
            model_name="auditentry",
            name="subject",
            field=models.CharField(
                blank=True,
                default="",
                help_text="What else it is about: `token:<id>`, `account:<name>`.",
                max_length=200,
            ),
        ),
        migrations.AlterField(
            model_name="auditentry",
            name="door",
            field=models.CharField(
                help_text="rest, mcp, admin or command; job for the service itself.", max_length=20
            ),
        ),
        # Who may look into a sandbox is asked by what was executed there.
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(fields=["sandbox_id"], name="execution_sandbox"),
        ),
        migrations.RunPython(make_roles, migrations.RunPython.noop),
    ]
