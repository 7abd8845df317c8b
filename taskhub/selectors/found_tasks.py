"""Indexed searches of tasks: few hits are looked up and sorted, many are met while the list is walked.

No index is both of trigrams, or of tags, and in a list's order. So the ids of the hits are read first, up to `FEW` of
them. Where there are more, the page is found by walking the index of the list's order and looking at each row: hits that
are so many come soon.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

from django.db import connection
from django.db.models import F, Q, QuerySet, Value

from taskhub.models import HasTag, Task
from taskhub.models.search_index import NUMBERS, TEXTS, TRIGRAM, search_index_is_kept

FEW: Final = 1000
_TRIGRAMS_MOST: Final = 16
"""Of a long text the index is asked for so many of its trigrams; the rows themselves are compared anyway."""


def if_few(tasks: QuerySet[Task], condition: Q, candidates: Iterable[Any] | None) -> QuerySet[Task]:
    """The tasks that fulfil the condition. `candidates`: ids of all that may, or at least FEW + 1; None: not known."""
    tasks = tasks.filter(condition)
    if candidates is None:
        return tasks
    ids = list(candidates)
    return tasks.filter(pk__in=ids) if len(ids) <= FEW else tasks


def containing(tasks: QuerySet[Task], folded: str) -> QuerySet[Task]:
    """Those whose folded text contains this one, letter by letter."""
    condition = Q(folded_text__contains=folded)
    return if_few(tasks, condition, _candidates("folded_text", folded, condition))


def tagged(tasks: QuerySet[Task], tag: str) -> QuerySet[Task]:
    condition = Q(HasTag(F("tags"), Value(tag)))
    # On SQLite tags are text, spelled as `JSONField` writes it; quotes make one of a single letter a trigram.
    return if_few(tasks, condition, _candidates("tags", json.dumps(tag), condition))


def _candidates(column: str, text: str, condition: Q) -> Iterable[Any] | None:
    """Ids of tasks that may fulfil the condition, by the index of the column. One query, on SQLite two."""
    if len(text) < TRIGRAM:
        return None
    if connection.vendor != "sqlite":
        return few(Task.objects.filter(condition).values_list("pk", flat=True))
    return _with_trigrams(column, text) if search_index_is_kept() else None


def few(ids: QuerySet[Any]) -> QuerySet[Any]:
    return ids.order_by()[: FEW + 1]


def _with_trigrams(column: str, text: str) -> list[UUID]:
    """Those that have some of the text's trigrams: nearly all of them have the text."""
    wanted = " AND ".join(map(_quoted, _trigrams(text)))
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT task_id FROM {TEXTS} CROSS JOIN {NUMBERS} ON number = {TEXTS}.rowid "  # noqa: S608 - names of ours
            f"WHERE {TEXTS} MATCH %s LIMIT %s",
            [f"{{{column}}} : ({wanted})", FEW + 1],
        )
        return [UUID(task_id) for (task_id,) in cursor.fetchall()]


def _trigrams(text: str) -> Sequence[str]:
    every = list(dict.fromkeys(text[n : n + TRIGRAM] for n in range(len(text) - TRIGRAM + 1)))
    return every[:: -(-len(every) // _TRIGRAMS_MOST)]


def _quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


