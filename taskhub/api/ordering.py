"""Ordering of lists by `?ordering=`: each order ends in the unique key, so that it is total."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request

from taskhub.models import TaskPriority

PARAMETER = "ordering"


class KnownOrdering(BaseFilterBackend):
    """A view says `orderings = {"priority": "priority_rank"}`: the public name and the column or annotation.

    The pages sort (`KeysetPages`); this only reads the parameter and documents it.
    """

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:  # noqa: ARG002 - DRF's interface
        return queryset

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": PARAMETER,
                "in": "query",
                "description": "The order; `-` before a name reverses it. Rows that are equal in it are ordered by "
                f"their creation and id. `priority` orders by rank ({', '.join(TaskPriority.values)}), as"
                " `priority_rank` does.",
                "schema": {"type": "string", "enum": names_of(view.orderings)},
            }
        ]


def names_of(orderings: Mapping[str, str]) -> list[str]:
    return [sign + name for name in orderings for sign in ("", "-")]


def read_ordering(request: Request, view: Any, *, usual: tuple[str, ...]) -> tuple[str, ...]:
    """The keys to sort by, `usual` behind the one that was asked for. Raises ValidationError."""
    orderings: Mapping[str, str] | None = getattr(view, "orderings", None)
    asked = request.query_params.get(PARAMETER, "") if orderings else ""
    if not orderings or not asked:
        return usual
    keys: dict[str, str] = {}
    for name in asked.split(","):
        if name not in names_of(orderings):
            raise serializers.ValidationError({PARAMETER: [f"Must be one of: {', '.join(names_of(orderings))}."]})
        column = orderings[name.lstrip("-")]
        keys.setdefault(column, f"-{column}" if name.startswith("-") else column)
    for key in usual:
        keys.setdefault(key.lstrip("-"), key)
    return tuple(keys.values())
