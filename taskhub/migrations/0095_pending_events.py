"""Events are numbered behind the commit on PostgreSQL: the table of pending ones, and what moves them from there.

The release before this one numbers its events in its own transactions, also while this one already runs. A trigger on
the counter has it give numbers to all events before its own that have been committed, so that the order holds between
both. This release takes a number in the same way where it needs one at once.
"""

from typing import Any

from django.db import migrations, models

# Sequential scans and bitmaps are off because the table is empty when the plan is made, and may hold many dead rows.
MOVE = """
CREATE FUNCTION taskhub_move_pending(wanted varchar, head bigint, most integer)
RETURNS TABLE (number bigint, kind varchar, body text)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
    RETURN QUERY
        WITH gone AS (
            DELETE FROM taskhub_pendingevent p WHERE p.id = ANY (ARRAY(
                SELECT f.id FROM taskhub_pendingevent f WHERE f.channel = wanted ORDER BY f.id LIMIT most
            ))
            RETURNING p.id, p.channel, p.type, p.data, p.created
        )
        INSERT INTO django_eventstream_event (id, channel, type, data, created, eid)
            SELECT g.id, g.channel, g.type, g.data, g.created, head + row_number() OVER (ORDER BY g.id) FROM gone g
            RETURNING eid, type, data;
END $$
"""
# One statement in a transaction of its own: a client that is stopped meanwhile holds nothing. Each statement of a
# volatile function has a new snapshot, so what is moved is read after the counter was locked. The answer is small, so
# that it fits in the socket of a client that does not read: larger texts are left out.
NUMBER = """
CREATE FUNCTION taskhub_number_events(most integer, bytes_most integer)
RETURNS TABLE (channel varchar, number bigint, kind varchar, body text)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    wanted varchar;
    head bigint;
    moved bigint;
BEGIN
    FOR wanted IN
        SELECT DISTINCT f.channel
            FROM (SELECT p.channel FROM taskhub_pendingevent p ORDER BY p.id LIMIT most) f ORDER BY f.channel
    LOOP
        head := NULL;
        -- Not by an INSERT that finds a conflict: it would wait for the writer that updates the row.
        SELECT c.value INTO head FROM django_eventstream_eventcounter c WHERE c.name = wanted FOR UPDATE SKIP LOCKED;
        IF NOT FOUND AND NOT EXISTS (SELECT FROM django_eventstream_eventcounter c WHERE c.name = wanted) THEN
            INSERT INTO django_eventstream_eventcounter (name, value, updated)
                VALUES (wanted, 0, 'epoch') ON CONFLICT (name) DO NOTHING RETURNING value INTO head;
        END IF;
        IF head IS NULL THEN
            RETURN QUERY SELECT wanted, 0::bigint, ''::varchar, ''::text;
            CONTINUE;
        END IF;
        RETURN QUERY
            SELECT wanted, m.number, m.kind,
                CASE WHEN sum(octet_length(m.body)) OVER () <= bytes_most THEN m.body END
            FROM taskhub_move_pending(wanted, head, most) m;
        GET DIAGNOSTICS moved = ROW_COUNT;
        IF moved > 0 THEN
            UPDATE django_eventstream_eventcounter c SET value = head + moved WHERE c.name = wanted;
        END IF;
    END LOOP;
END $$
"""
BEFORE = """
CREATE FUNCTION taskhub_number_before() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.value := NEW.value + (SELECT count(*) FROM taskhub_move_pending(NEW.name, OLD.value, 2147483647));
    RETURN NEW;
END $$
"""
# Who takes a number sets the time as well; who moves pending events, or skips numbers, does not.
TRIGGER = """
CREATE TRIGGER taskhub_number_before BEFORE UPDATE ON django_eventstream_eventcounter
FOR EACH ROW WHEN (OLD.updated IS DISTINCT FROM NEW.updated) EXECUTE FUNCTION taskhub_number_before()
"""
# Rows are here for milliseconds: what counts is how many are dead, not which share of the table they are.
VACUUM = """
ALTER TABLE taskhub_pendingevent SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000)
"""
BACK = (
    "DROP TRIGGER taskhub_number_before ON django_eventstream_eventcounter",
    "DROP FUNCTION taskhub_number_before()",
    "DROP FUNCTION taskhub_number_events(integer, integer)",
    "DROP FUNCTION taskhub_move_pending(varchar, bigint, integer)",
)


def make_functions(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        for statement in (MOVE, NUMBER, BEFORE, TRIGGER, VACUUM):
            schema_editor.execute(statement)


def drop_functions(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        for statement in BACK:
            schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [
        ("taskhub", "0094_unread_event_indexes"),
    ]

    operations = [
        migrations.CreateModel(
            name="PendingEvent",
            fields=[
                ("id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("channel", models.CharField(max_length=255)),
                ("type", models.CharField(max_length=255)),
                ("data", models.TextField()),
                ("created", models.DateTimeField()),
            ],
        ),
        migrations.RunPython(make_functions, drop_functions),
    ]
