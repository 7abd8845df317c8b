"""How an address of the API is written: with or without a trailing slash, ids as UUIDs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

from django.http import HttpResponseBase
from django.urls import URLPattern
from django.urls.resolvers import RegexPattern

_TASK_ID: Final = r"(?P<task_id>[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12})"


class _Route(RegexPattern):
    """Django's `path()` converts but cannot make a slash optional; its `re_path()` the other way round."""

    def match(self, path: str) -> tuple[str, tuple[Any, ...], dict[str, Any]] | None:
        found = super().match(path)
        if found is None:
            return None
        rest, args, kwargs = found
        return rest, args, {name: UUID(value) for name, value in kwargs.items()}


def route(address: str, view: Callable[..., HttpResponseBase | Awaitable[HttpResponseBase]], name: str) -> URLPattern:
    """`address` as `exec/logs/{task_id}/stream`; the view gets `task_id` as a UUID. Any other address is a 404."""
    pattern = address.replace("{task_id}", _TASK_ID)
    return URLPattern(_Route(rf"^{pattern}/?$", name=name, is_endpoint=True), view, None, name)
