"""Search of rows by words."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import TypeVar

from django.db.models import Model, Q, QuerySet

M = TypeVar("M", bound=Model)


def with_each_word(rows: QuerySet[M], text: str, holds: Callable[[str], Q]) -> QuerySet[M]:
    """Those that fulfil the condition for each word of the text."""
    for word in text.split():
        rows = rows.filter(holds(word))
    return rows


def in_any_of(*fields: str) -> Callable[[str], Q]:
    """That one of these fields has the word, whatever its case."""
    return lambda word: reduce(or_, (Q(**{f"{field}__icontains": word}) for field in fields))
