"""PostgreSQL: drops indexes of django-eventstream's tables that nothing reads and every event pays for.

The counter's time: it changes with each event, so that no update of a counter could be heap-only (HOT). Of the events
the type, the number alone and the channel alone: they are looked up by channel and number, by time, or by id. SQLite
keeps them: its tables are made from the library's models.
"""

from typing import Any

from django.db import migrations

UNREAD = {
    "django_eventstream_eventcounter": [["updated"]],
    "django_eventstream_event": [["type"], ["eid"], ["channel"]],
}


def drop_unread(apps: Any, schema_editor: Any) -> None:
    connection = schema_editor.connection
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        for table, unread in UNREAD.items():
            for name, found in connection.introspection.get_constraints(cursor, table).items():
                is_constraint = found["primary_key"] or found["unique"] or found["foreign_key"] or found["check"]
                if found["index"] and not is_constraint and found["columns"] in unread:
                    cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {connection.ops.quote_name(name)}")


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("django_eventstream", "0001_initial"),
        ("taskhub", "0093_left_out_files"),
    ]

    operations = [migrations.RunPython(drop_unread, migrations.RunPython.noop)]
