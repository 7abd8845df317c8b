"""Search index: trigrams of the tasks' folded texts, and of their tags, on both databases.

`search_index_make` runs behind every `migrate`, so a database whose tables were made from the models has the index as
well, and one whose triggers went with a table that Django made anew gets it back, filled anew.

PostgreSQL keeps texts and tags in a table of their own, filled by triggers, with two GIN indexes. Those indexes on the
table of tasks would get an entry for each trigram with every change of a task, whatever it changed. That of the texts
needs the extension pg_trgm; without it, and without the right to create it, searches read all tasks, and
`manage.py check --database default` says so.

On SQLite it is a table of FTS5 that keeps no text of its own, filled by triggers. Its rows need numbers that last,
which those of the tasks' table are not (VACUUM changes them): `taskhub_task_searched` gives each task one.
"""

from __future__ import annotations

import logging
from typing import Any, Final
from uuid import UUID

from django.db import DatabaseError, connections, transaction

log = logging.getLogger(__name__)

TRIGRAM: Final = 3
"""Characters of the shortest text that the index finds."""
TEXTS: Final = "taskhub_task_trigrams"
_PART: Final = 1000
SEARCHED: Final = "taskhub_task_searched"
"""On PostgreSQL the texts and tags of each task, on SQLite its number."""
TEXT_INDEX: Final = "task_searched_text"
TAG_INDEX: Final = "task_searched_tags"
# ruff: noqa: S608 - the names in these statements are those above
_TRIGGERS: Final = {
    "taskhub_task_searched_insert": f"""
        AFTER INSERT ON taskhub_task BEGIN
            INSERT INTO {SEARCHED} (task_id) VALUES (new.id);
            INSERT INTO {TEXTS} (rowid, folded_text, tags)
                SELECT number, new.folded_text, new.tags FROM {SEARCHED} WHERE task_id = new.id;
        END""",
    "taskhub_task_searched_update": f"""
        AFTER UPDATE OF folded_text, tags ON taskhub_task
        WHEN old.folded_text <> new.folded_text OR old.tags <> new.tags BEGIN
            INSERT INTO {TEXTS} ({TEXTS}, rowid, folded_text, tags)
                SELECT 'delete', number, old.folded_text, old.tags FROM {SEARCHED} WHERE task_id = new.id;
            INSERT INTO {TEXTS} (rowid, folded_text, tags)
                SELECT number, new.folded_text, new.tags FROM {SEARCHED} WHERE task_id = new.id;
        END""",
    "taskhub_task_searched_delete": f"""
        AFTER DELETE ON taskhub_task BEGIN
            INSERT INTO {TEXTS} ({TEXTS}, rowid, folded_text, tags)
                SELECT 'delete', number, old.folded_text, old.tags FROM {SEARCHED} WHERE task_id = old.id;
            DELETE FROM {SEARCHED} WHERE task_id = old.id;
        END""",
}
_ON_POSTGRES: Final = {
    TEXT_INDEX: f"{SEARCHED} USING gin (folded_text gin_trgm_ops)",
    TAG_INDEX: f"{SEARCHED} USING gin (tags jsonb_path_ops)",
}
_FORMER_INDEXES: Final = ("task_text_trigrams", "task_tags")
"""Of the table of tasks itself."""
_POSTGRES_TRIGGERS: Final = {
    "taskhub_task_searched_insert": "AFTER INSERT ON taskhub_task FOR EACH ROW",
    "taskhub_task_searched_update": "AFTER UPDATE OF folded_text, tags ON taskhub_task FOR EACH ROW "
    "WHEN (OLD.folded_text IS DISTINCT FROM NEW.folded_text OR OLD.tags IS DISTINCT FROM NEW.tags)",
    "taskhub_task_searched_delete": "AFTER DELETE ON taskhub_task FOR EACH ROW",
    "taskhub_task_searched_empty": "AFTER TRUNCATE ON taskhub_task FOR EACH STATEMENT",
}
_FUNCTION: Final = f"""
CREATE OR REPLACE FUNCTION taskhub_task_searched() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        TRUNCATE {SEARCHED};
    ELSIF TG_OP = 'DELETE' THEN
        DELETE FROM {SEARCHED} WHERE task_id = OLD.id;
    ELSE
        INSERT INTO {SEARCHED} (task_id, folded_text, tags) VALUES (NEW.id, NEW.folded_text, NEW.tags)
            ON CONFLICT (task_id) DO UPDATE SET folded_text = excluded.folded_text, tags = excluded.tags;
    END IF;
    RETURN NULL;
END $$
"""


def search_index_make(using: str = "default", **_: Any) -> None:
    """Make what is missing. Receiver of `post_migrate`. Where the database cannot, it is logged: searches read more."""
    connection = connections[using]
    try:
        if not _has_columns(connection):
            _drop(connection)
        elif connection.vendor == "sqlite":
            _make_on_sqlite(connection)
        else:
            _make_on_postgres(connection)
    except DatabaseError as error:
        log.warning("searches read all tasks: no index (%s: %s)", type(error).__name__, str(error).strip())


def search_index_missing(using: str = "default") -> list[str]:
    """Names of the parts that are not there, or not whole. Raises DatabaseError."""
    connection = connections[using]
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'trigger')")
            wanted = [SEARCHED, TEXTS, *_TRIGGERS]
        else:
            cursor.execute(
                "SELECT relname FROM pg_class JOIN pg_index ON indexrelid = pg_class.oid "
                "WHERE indisvalid AND pg_table_is_visible(pg_class.oid) AND relname = ANY(%s) "
                "UNION ALL SELECT tgname FROM pg_trigger WHERE tgrelid = 'taskhub_task'::regclass AND NOT tgisinternal",
                [list(_ON_POSTGRES)],
            )
            wanted = [*_POSTGRES_TRIGGERS, *_ON_POSTGRES]
        there = {name for (name,) in cursor.fetchall()}
    return [name for name in wanted if name not in there]


def search_index_is_kept(column: str) -> bool:
    """Whether all tasks are in the index of this column, `folded_text` or `tags`.

    Triggers are made, and go, together; on SQLite the index is whole with them.
    """
    connection = connections["default"]
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name = %s", [next(iter(_TRIGGERS))])
        else:
            # The indexes are made when all tasks are in the table.
            name = TEXT_INDEX if column == "folded_text" else TAG_INDEX
            cursor.execute(
                "SELECT 1 FROM pg_index JOIN pg_trigger ON tgrelid = to_regclass('taskhub_task') AND tgname = %s "
                "WHERE indexrelid = to_regclass(%s) AND indisvalid",
                [next(iter(_POSTGRES_TRIGGERS)), name],
            )
        return cursor.fetchone() is not None


def _has_columns(connection: Any) -> bool:
    """Not before the migration that makes them, nor after a way back behind it."""
    with connection.cursor() as cursor:
        if "taskhub_task" not in connection.introspection.table_names(cursor):
            return False
        columns = {column.name for column in connection.introspection.get_table_description(cursor, "taskhub_task")}
    return {"folded_text", "tags"} <= columns


def _make_on_sqlite(connection: Any) -> None:
    if not search_index_missing(connection.alias):
        return
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        for name in _TRIGGERS:
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
        for name in (TEXTS, SEARCHED):
            cursor.execute(f"DROP TABLE IF EXISTS {name}")
        cursor.execute(f"CREATE TABLE {SEARCHED} (number integer PRIMARY KEY, task_id char(32) NOT NULL UNIQUE)")
        cursor.execute(
            f"CREATE VIRTUAL TABLE {TEXTS} USING fts5(folded_text, tags, content='', detail='column', "
            "tokenize='trigram case_sensitive 1')"
        )
        cursor.execute(f"INSERT INTO {SEARCHED} (task_id) SELECT id FROM taskhub_task")
        cursor.execute(
            f"INSERT INTO {TEXTS} (rowid, folded_text, tags) "
            f"SELECT number, folded_text, tags FROM {SEARCHED} JOIN taskhub_task ON id = task_id"
        )
        for name, statement in _TRIGGERS.items():
            cursor.execute(f"CREATE TRIGGER {name} {statement}")


def _make_on_postgres(connection: Any) -> None:
    """Made while tasks are written. What an attempt that was interrupted has left is dropped first."""
    missing = set(search_index_missing(connection.alias))
    if not missing:
        return
    online = "" if connection.in_atomic_block else "CONCURRENTLY"
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")  # reset behind `migrate`: taskhub/lib/database_limits.py
        if missing & _POSTGRES_TRIGGERS.keys():
            _make_triggers(connection, cursor)
            missing |= _ON_POSTGRES.keys()
        for name in (*_FORMER_INDEXES, *(_ON_POSTGRES.keys() & missing)):
            cursor.execute(f"DROP INDEX {online} IF EXISTS {name}")
        if missing >= _ON_POSTGRES.keys():
            _fill(cursor)
        for name in sorted(_ON_POSTGRES.keys() & missing):  # that of the tags first: it needs no extension
            if name == TEXT_INDEX:
                cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            cursor.execute(f"CREATE INDEX {online} {name} ON {_ON_POSTGRES[name]}")


def _fill(cursor: Any) -> None:
    """In parts: who changes a task waits for its part alone. What was written since the triggers are there is in the
    table already; what was deleted meanwhile goes."""
    last: UUID | None = UUID(int=0)
    while last is not None:
        cursor.execute(
            "WITH part AS (SELECT id, folded_text, tags FROM taskhub_task WHERE id > %s ORDER BY id LIMIT %s), "
            f"filled AS (INSERT INTO {SEARCHED} (task_id, folded_text, tags) SELECT id, folded_text, tags FROM part "
            "ON CONFLICT (task_id) DO NOTHING) SELECT id FROM part ORDER BY id DESC LIMIT 1",
            [last, _PART],
        )
        found = cursor.fetchone()
        last = None if found is None else found[0]
    cursor.execute(f"DELETE FROM {SEARCHED} WHERE NOT EXISTS (SELECT FROM taskhub_task WHERE id = task_id)")


def _drop(connection: Any) -> None:
    """After a way back behind the columns: on PostgreSQL a trigger that writes them would stay."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION IF EXISTS taskhub_task_searched() CASCADE")
            cursor.execute(f"DROP TABLE IF EXISTS {SEARCHED}")


def _make_triggers(connection: Any, cursor: Any) -> None:
    """The table is empty then; an index on it says that it is whole."""
    with transaction.atomic(using=connection.alias):
        cursor.execute(f"DROP TABLE IF EXISTS {SEARCHED}")
        cursor.execute(
            f"CREATE TABLE {SEARCHED} (task_id uuid PRIMARY KEY, folded_text text NOT NULL, tags jsonb NOT NULL)"
        )
        cursor.execute(_FUNCTION)
        for name, when in _POSTGRES_TRIGGERS.items():
            cursor.execute(f"DROP TRIGGER IF EXISTS {name} ON taskhub_task")
            cursor.execute(f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION taskhub_task_searched()")
