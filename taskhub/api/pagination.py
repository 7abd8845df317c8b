"""Pages by cursor: stable while rows are added."""

from __future__ import annotations

from rest_framework.pagination import CursorPagination


class NewestFirst(CursorPagination):
    """`?page_size=` up to 200 (50 unless told), `?cursor=` from `next` and `previous`."""

    ordering: tuple[str, ...] = ("-created_at", "-id")
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200


class NewestEntryFirst(NewestFirst):
    """For rows whose numbers grow with time."""

    ordering = ("-id",)
