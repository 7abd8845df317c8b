"""Indexed searches of tasks: few hits are looked up and sorted, many are met while the list is walked.

No index is both of trigrams, or of tags, and in a list's order. So the ids of the hits are read first, up to `FEW` of
them. Where there are more, the page is found by walking the index of the list's order and looking at each row: hits
that are so many come soon.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from django.db import connection
from django.db.models import F, Q, QuerySet, Value

from taskhub.models import HasTag, Task
from taskhub.models.search_index import SEARCHED, TEXTS, TRIGRAM, search_index_is_kept

# ruff: noqa: S608 - the names in these statements are the index's own
FEW: Final = 1000
_TRIGRAMS_MOST: Final = 16
"""Of a long text the index is asked for so many of its trigrams; the rows themselves are compared anyway."""


def if_few(tasks: QuerySet[Task], condition: Q, *candidates: QuerySet[Any]) -> QuerySet[Task]:
    """The tasks that fulfil the condition. `candidates`: ids of all that may fulfil it, each by an index."""
    tasks = tasks.filter(condition)
    if any(ids.order_by()[FEW : FEW + 1].exists() for ids in candidates):
        return tasks
    return tasks.filter(pk__in=[each for ids in candidates for each in ids.order_by()])


def containing(tasks: QuerySet[Task], folded: str) -> QuerySet[Task]:
    """Those whose folded text contains this one, letter by letter."""
    return _indexed(tasks, Q(folded_text__contains=folded), "folded_text", folded)


def tagged(tasks: QuerySet[Task], tag: str) -> QuerySet[Task]:
    # On SQLite tags are text, spelled as `JSONField` writes it; quotes make one of a single letter a trigram.
    text = json.dumps(tag) if connection.vendor == "sqlite" else tag
    return _indexed(tasks, Q(HasTag(F("tags"), Value(tag))), "tags", text)


def _indexed(tasks: QuerySet[Task], condition: Q, column: str, text: str) -> QuerySet[Task]:
    """Those that fulfil the condition, which is that the column has the text."""
    tasks = tasks.filter(condition)
    is_short = len(text) < TRIGRAM and (column, connection.vendor) != ("tags", "postgresql")
    if is_short or not search_index_is_kept(column):
        return tasks
    ids = _with_trigrams(column, text) if connection.vendor == "sqlite" else _with_text(column, text)
    return tasks if ids is None else tasks.filter(pk__in=ids)


_LITERALLY: Final = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})
"""What `LIKE` takes for more than itself."""
_HAS_TEXT: Final = {"folded_text": "folded_text LIKE %s", "tags": "tags @> to_jsonb(%s::text)"}


def _with_text(column: str, text: str) -> list[UUID] | None:
    """Of tasks that have the text, on PostgreSQL. None: too many."""
    pattern = f"%{text.translate(_LITERALLY)}%" if column == "folded_text" else text
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT task_id FROM {SEARCHED} WHERE {_HAS_TEXT[column]} LIMIT {FEW + 1}", [pattern])
        found = cursor.fetchall()
    return [task_id for (task_id,) in found] if len(found) <= FEW else None


def _with_trigrams(column: str, text: str) -> list[UUID] | None:
    """Of tasks that have some of the text's trigrams, as nearly only those have that have the text. None: too many."""
    match = f"{{{column}}} : ({' AND '.join(map(_quoted, _trigrams(text)))})"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT 1 FROM {TEXTS} WHERE {TEXTS} MATCH %s LIMIT 1 OFFSET %s", [match, FEW])
        if cursor.fetchone() is not None:
            return None
        cursor.execute(
            f"SELECT task_id FROM {TEXTS} CROSS JOIN {SEARCHED} ON number = {TEXTS}.rowid WHERE {TEXTS} MATCH %s",
            [match],
        )
        return [UUID(task_id) for (task_id,) in cursor.fetchall()]


def _trigrams(text: str) -> Sequence[str]:
    every = list(dict.fromkeys(text[n : n + TRIGRAM] for n in range(len(text) - TRIGRAM + 1)))
    return every[:: -(-len(every) // _TRIGRAMS_MOST)]


def _quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'
