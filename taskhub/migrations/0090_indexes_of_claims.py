from django.db import migrations, models

from taskhub.migrations._online_index import AddIndexOnline
from taskhub.models.task import NotHeldBack, OfferedTo, PriorityRank


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("taskhub", "0089_indexes_of_agents"),
    ]

    operations = [
        AddIndexOnline(
            model_name="task",
            index=models.Index(
                models.F("status"),
                models.F("open_blockers"),
                OfferedTo("handed_over_by", "assignee"),
                models.OrderBy(PriorityRank("priority"), descending=True),
                models.F("created_at"),
                models.F("id"),
                condition=models.Q(NotHeldBack("held_back"), ("open_blockers", 0), ("status", "todo")),
                name="task_claim_order",
            ),
        ),
        AddIndexOnline(
            model_name="task",
            index=models.Index(
                models.F("status"),
                models.F("open_blockers"),
                models.F("handed_over_by"),
                models.OrderBy(PriorityRank("priority"), descending=True),
                models.F("created_at"),
                models.F("id"),
                condition=models.Q(
                    NotHeldBack("held_back"),
                    ("open_blockers", 0),
                    ("status", "todo"),
                    ("handed_over_by__isnull", False),
                ),
                name="task_claim_sent_back",
            ),
        ),
    ]
