"""Pages by cursor: stable while rows are added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.views import APIView

_DIGITS: Final = 10


class NewestFirst(CursorPagination):
    """`?page_size=` up to 200 (50 unless told), `?cursor=` from `next` and `previous`."""

    ordering: tuple[str, ...] = ("-created_at", "-id")
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200

    def get_page_size(self, request: Request) -> int:
        """Raises ValidationError for what is no such number; DRF would take it for none given."""
        text = request.query_params.get(self.page_size_query_param)
        if text is None:
            return self.page_size
        if not (text.isascii() and text.isdigit() and len(text) < _DIGITS and 0 < int(text) <= self.max_page_size):
            raise serializers.ValidationError({self.page_size_query_param: [f"From 1 to {self.max_page_size}."]})
        return int(text)

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        for parameter in parameters:
            if parameter["name"] == self.page_size_query_param:
                parameter["schema"] = {"type": "integer", "minimum": 1, "maximum": self.max_page_size}
        return parameters

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


class NewestQueuedFirst(NewestFirst):
    ordering = ("-queued_at", "-id")
