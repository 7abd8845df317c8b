from django.db import migrations, models

from taskhub.migrations._online_index import AddIndexOnline


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("taskhub", "0088_execution_agent"),
    ]

    operations = [
        AddIndexOnline(model_name="agent", index=models.Index(fields=["-last_seen_at", "-id"], name="agent_newest")),
        AddIndexOnline(model_name="agent", index=models.Index(fields=["token_id"], name="agent_of_token")),
        AddIndexOnline(
            model_name="claim",
            index=models.Index(
                condition=models.Q(("ended_at__isnull", True)), fields=["agent", "begun_at"], name="claim_of_holder"
            ),
        ),
        AddIndexOnline(
            model_name="execution",
            index=models.Index(
                condition=models.Q(("agent__isnull", False)),
                fields=["agent", "status", "-queued_at"],
                name="execution_of_agent",
            ),
        ),
    ]
