"""Keyset pagination: a cursor holds every key of the row it stands behind, so pages neither skip nor repeat rows.

A row that is not changed is in exactly one page, however many others are inserted or deleted between two requests.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, NamedTuple

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db.models import Field, IntegerField, Q, QuerySet
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param
from rest_framework.views import APIView

from taskhub.api.ordering import read_ordering

_DIGITS: Final = 10
_INVALID_CURSOR: Final = "Invalid cursor: take it from next or previous of a page with the same ordering."
_PAGE_EXAMPLE: Final = "https://hub.example.com/api/tasks/?cursor=eyJrIjpbIi1jcmVhdGVkX2F0Il19"


class Position(NamedTuple):
    """Behind (`backwards`: before) the row with these values of the keys."""

    keys: tuple[str, ...]
    values: tuple[Any, ...]
    backwards: bool

    def encode(self) -> str:
        said = {"k": self.keys, "v": [str(value) for value in self.values], "b": int(self.backwards)}
        text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode(errors="surrogatepass")).decode().rstrip("=")

    def without_first(self) -> Position:
        """Among rows that are equal in the first key."""
        return self._replace(keys=self.keys[1:], values=self.values[1:])


class KeysetPages(BasePagination):
    """`?page_size=` up to 200 (50 unless told), `?cursor=` from `next` and `previous`."""

    ordering: tuple[str, ...] = ("-created_at", "-id")
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200
    cursor_query_param = "cursor"

    _address: str
    _next: Position | None
    _previous: Position | None

    def paginate_queryset(
        self, queryset: QuerySet[Any] | Sequence[Any], request: Request, view: APIView | None = None
    ) -> list[Any]:
        """One page. Raises ValidationError for a bad size or ordering, NotFound for a bad cursor.

        A view may have a way of its own to read the rows: `read_rows(queryset, keys)`.
        """
        if not isinstance(queryset, QuerySet):
            raise TypeError("only a queryset has keys")
        size = self.get_page_size(request)
        keys = read_ordering(request, view, usual=self.ordering)
        position = self._read_position(queryset, request, keys)
        backwards = position is not None and position.backwards
        order = tuple(map(_reversed, keys)) if backwards else keys
        with self.one_read(request, order):
            rows = self.first_rows(queryset, request, order, position, size + 1)
            found = getattr(view, "read_rows", _models)(rows, tuple(key.lstrip("-") for key in keys))
        page, more = found[:size], len(found) > size
        if backwards:
            page.reverse()
        self._address = request.build_absolute_uri()
        ahead, behind = (position is not None, more) if backwards else (more, position is not None)
        self._next = _position(queryset, keys, page[-1], backwards=False) if ahead and page else None
        self._previous = _position(queryset, keys, page[0], backwards=True) if behind and page else None
        return page

    def one_read(
        self,
        request: Request,  # noqa: ARG002 - for those that read in parts
        order: tuple[str, ...],  # noqa: ARG002 - likewise
    ) -> AbstractContextManager[None]:
        """Around what reads a page."""
        return nullcontext()

    def first_rows(
        self,
        queryset: QuerySet[Any],
        request: Request,  # noqa: ARG002 - for those that read in parts
        order: tuple[str, ...],
        position: Position | None,
        count: int,
    ) -> QuerySet[Any]:
        """The first `count` rows behind the position; `order` has the direction in which the page is read."""
        rows = queryset.order_by(*order)
        return (rows if position is None else rows.filter(behind(position)))[:count]

    def get_page_size(self, request: Request) -> int:
        """Raises ValidationError for anything but a number from 1 to `max_page_size`."""
        text = request.query_params.get(self.page_size_query_param)
        if text is None:
            return self.page_size
        if not (text.isascii() and text.isdigit() and len(text) < _DIGITS and 0 < int(text) <= self.max_page_size):
            wrong = f"Must be a number from 1 to {self.max_page_size}."
            raise serializers.ValidationError({self.page_size_query_param: [wrong]})
        return int(text)

    def _read_position(self, rows: QuerySet[Any], request: Request, keys: tuple[str, ...]) -> Position | None:
        text = request.query_params.get(self.cursor_query_param, "")
        if not text:
            return None
        try:
            position = _decode(text, rows)
        except (binascii.Error, ValueError, KeyError, TypeError, ValidationError, OverflowError):
            raise NotFound(_INVALID_CURSOR) from None
        if position.keys != keys:
            raise NotFound(_INVALID_CURSOR)
        return position

    def get_next_link(self) -> str | None:
        return self._link(self._next)

    def get_previous_link(self) -> str | None:
        return self._link(self._previous)

    def next_cursor(self) -> str | None:
        """For an interface whose pages are not addresses."""
        return self._next.encode() if self._next is not None else None

    def _link(self, position: Position | None) -> str | None:
        if position is None:
            return None
        return replace_query_param(
            remove_query_param(self._address, self.cursor_query_param), self.cursor_query_param, position.encode()
        )

    def get_paginated_response(self, data: Any, **more: Any) -> Response:
        return Response({"next": self.get_next_link(), "previous": self.get_previous_link(), "results": data, **more})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {
                "next": {**link, "description": "The next page; null on the last one.", "examples": [_PAGE_EXAMPLE]},
                "previous": {**link, "description": "The page before; null on the first one.", "examples": [None]},
                "results": schema,
            },
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:  # noqa: ARG002 - DRF's interface
        return [
            {
                "name": self.cursor_query_param,
                "in": "query",
                "description": "The position of a page, from `next` or `previous`.",
                "schema": {"type": "string"},
            },
            {
                "name": self.page_size_query_param,
                "in": "query",
                "description": f"Rows in a page, {self.page_size} unless given.",
                "schema": {"type": "integer", "minimum": 1, "maximum": self.max_page_size},
            },
        ]


def _reversed(key: str) -> str:
    return key[1:] if key.startswith("-") else f"-{key}"


def _models(rows: QuerySet[Any], keys: tuple[str, ...]) -> list[Any]:  # noqa: ARG001 - as a view's `read_rows`
    return list(rows)


def _position(rows: QuerySet[Any], keys: tuple[str, ...], row: Any, *, backwards: bool) -> Position:
    """The row may be a model or have texts for ids and times; the position is the same."""
    values = (_field_of(rows, key).to_python(getattr(row, key.lstrip("-"))) for key in keys)
    return Position(keys, tuple(values), backwards)


def _decode(text: str, rows: QuerySet[Any]) -> Position:
    """Raises one of several errors for a text that `encode` did not make."""
    said = json.loads(base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)))
    keys, values = tuple(map(str, said["k"])), map(str, said["v"])
    # No database takes a NUL; half a character is a ValueError by itself.
    read = [_field_of(rows, key).to_python(value) for key, value in zip(keys, values, strict=True)]
    if not keys or None in read or any(b"\0" in str(value).encode() for value in read):
        raise ValueError(text)
    return Position(keys, tuple(read), bool(said["b"]))


def _field_of(rows: QuerySet[Any], key: str) -> Field[Any, Any]:
    """What reads a key's value back; an annotation (a rank) is a number."""
    try:
        field: Field[Any, Any] = rows.model._meta.get_field(key.lstrip("-"))  # noqa: SLF001 - Django's documented name
    except FieldDoesNotExist:
        return IntegerField()
    return field


def behind(position: Position) -> Q:
    """The condition on rows that come after this one: a row comparison, key by key.

    Its first part is implied by the others; with it a database walks the index of the first key.
    """
    after = Q()
    same = Q()
    for key, value in zip(position.keys, position.values, strict=True):
        name = key.lstrip("-")
        word = "lt" if key.startswith("-") != position.backwards else "gt"
        after |= same & Q((f"{name}__{word}", value))
        same &= Q((name, value))
    name, word = (
        position.keys[0].lstrip("-"),
        "lte" if position.keys[0].startswith("-") != position.backwards else "gte",
    )
    return Q((f"{name}__{word}", position.values[0])) & after


class NewestFirst(KeysetPages):
    """Rows by their creation."""


class NewestEntryFirst(KeysetPages):
    """For rows whose numbers grow with time."""

    ordering = ("-id",)


class NewestSeenFirst(KeysetPages):
    ordering = ("-last_seen_at", "-id")


class NewestQueuedFirst(KeysetPages):
    ordering = ("-queued_at", "-id")
