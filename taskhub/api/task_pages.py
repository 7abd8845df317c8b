"""Keyset pages of tasks: an order that no index has as a whole is read in parts, each from an index that has it.

Each index is paid for with every write of a task, so the indexes of the list's orders all begin with the status, and
ranks are kept in one direction (`models/task.py`). Each part gives the ids of its first rows; the page is the first of
them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final
from uuid import UUID

from django.db.models import QuerySet
from django.http import QueryDict
from rest_framework.request import Request

from taskhub.api.pagination import NewestFirst, Position, behind
from taskhub.lib.snapshot import one_snapshot
from taskhub.models import Task, TaskPriority, TaskStatus

_RANK: Final = "priority_rank"
_STATUSES: Final = tuple(sorted(TaskStatus.values))
Group = tuple[Any, list[dict[str, Any]]]
"""A value of the first key, or None for all of them, and the conditions of its parts."""


class TaskPages(NewestFirst):
    def one_read(self, request: Request, order: tuple[str, ...]) -> AbstractContextManager[None]:
        """The parts are of one moment: a task that moves from one to another meanwhile is in neither else."""
        return nullcontext() if _groups(request.query_params, order[0]) is None else one_snapshot()

    def first_rows(
        self,
        queryset: QuerySet[Any],
        request: Request,
        order: tuple[str, ...],
        position: Position | None,
        count: int,
    ) -> QuerySet[Any]:
        groups = _groups(request.query_params, order[0])
        if groups is None:
            return super().first_rows(queryset, request, order, position, count)
        ids = _first_ids(queryset, groups, order, position, count)
        return queryset.filter(pk__in=ids).order_by(*order)[:count]


def _groups(query: QueryDict, first: str) -> list[Group] | None:
    """In the order of the first key. None where one index serves the whole."""
    asked = set(query.getlist("status"))
    statuses = [status for status in _STATUSES if status in asked] or list(_STATUSES)
    wanted = set(query.getlist("priority"))
    ranks = [rank for rank, name in enumerate(TaskPriority.values) if name in wanted]
    name = first.lstrip("-")
    if name == _RANK:
        every = _directed(ranks or range(len(TaskPriority.values)), first)
        return [(rank, [{"status": status, _RANK: rank} for status in statuses]) for rank in every]
    if name == "created_at":
        of_ranks = [{"status": status, _RANK: rank} for status in statuses for rank in ranks]
        return [(None, of_ranks)] if ranks else None
    if len(statuses) == 1:
        return None
    if name == "status":
        return [(status, [{"status": status}]) for status in _directed(statuses, first)]
    return [(None, [{"status": status} for status in statuses])]


def _directed(values: Iterable[Any], key: str) -> list[Any]:
    return sorted(values, reverse=key.startswith("-"))


def _first_ids(
    tasks: QuerySet[Task], groups: Sequence[Group], order: tuple[str, ...], position: Position | None, count: int
) -> list[UUID]:
    """Ids of the first `count` tasks behind the position, and of others."""
    found: list[UUID] = []
    for value, parts in groups:
        for rows in _parts(tasks, value, parts, order, position):
            found += rows.values_list("pk", flat=True)[:count]
        if len(found) >= count:
            break
    return found


def _parts(
    tasks: QuerySet[Task],
    value: Any,
    parts: Iterable[dict[str, Any]],
    order: tuple[str, ...],
    position: Position | None,
) -> Iterator[QuerySet[Task]]:
    """Of one group: nothing where all of it is before the position."""
    if value is not None:
        if position is not None:
            at = position.values[0]
            if value != at and (value > at) == order[0].startswith("-"):
                return
            position = position.without_first() if value == at else None
        order = order[1:]
    for part in parts:
        rows = tasks.filter(**part).order_by(*order)
        yield rows if position is None else rows.filter(behind(position))
