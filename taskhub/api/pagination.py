"""Pages by cursor: stable while rows are added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.views import APIView


class NewestFirst(CursorPagination):
    """`?page_size=` up to 200 (50 unless told), `?cursor=` from `next` and `previous`."""

    ordering: tuple[str, ...] = ("-created_at", "-id")
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200

    def paginate_queryset(
        self, queryset: QuerySet[Any] | Sequence[Any], request: Request, view: APIView | None = None
    ) -> list[Any] | None:
        try:
            return super().paginate_queryset(queryset, request, view)
        except (ValidationError, ValueError):
            # Well-formed, but its position is no value of the column: DRF would crash on it.
            raise NotFound(self.invalid_cursor_message) from None


class NewestEntryFirst(NewestFirst):
    """For rows whose numbers grow with time."""

    ordering = ("-id",)
