"""How an address of the API is written: with or without a trailing slash, its places in braces."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

from django.http import HttpResponseBase
from django.urls import URLPattern
from django.urls.resolvers import RegexPattern

NAME: Final = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.-]{1,200}"
"""Of what others name: sandboxes, sessions, commands. They become parts of paths, so none may mean a folder."""
UUID_PATTERN: Final = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_OURS: Final = frozenset(
    {
        "announcement_id",
        "artifact_id",
        "delivery_id",
        "execution_id",
        "subscription_id",
        "task_id",
        "token_id",
        "webhook_id",
    }
)
_NUMBERS: Final = frozenset({"agent_id"})
"""Ids of ours that are numbers."""
NUMBER_PATTERN: Final = r"[1-9][0-9]{0,17}"
ACCOUNT: Final = r"[\w.@+-]{1,150}"
"""Django's own rule for names of accounts."""
_MUST_BE: Final = {
    UUID_PATTERN: "Must be a UUID.",
    NUMBER_PATTERN: "Must be a number.",
    NAME: "Must be an id: at most 200 letters, digits, and _ . -",
    ACCOUNT: "Must be the name of an account: at most 150 letters, digits, and @ . + - _",
}
_PLACE: Final = re.compile(r"\{(\w+)\}")
_ADDRESSES: Final[list[str]] = []
_ANY_ID: Final[list[re.Pattern[str]]] = []
"""Each address with places, with anything in them: what a malformed id was meant for."""


class _Route(RegexPattern):
    """Django's `path()` converts but cannot make a slash optional; its `re_path()` the other way round."""

    def match(self, path: str) -> tuple[str, tuple[Any, ...], dict[str, Any]] | None:
        found = super().match(path)
        if found is None:
            return None
        rest, args, kwargs = found
        return rest, args, {name: _read(name, value) for name, value in kwargs.items()}


def _read(place: str, value: str) -> UUID | int | str:
    if place in _OURS:
        return UUID(value)
    return int(value) if place in _NUMBERS else value


def route(address: str, view: Callable[..., HttpResponseBase | Awaitable[HttpResponseBase]], name: str) -> URLPattern:
    """`address` as `exec/logs/{task_id}/stream`; the view gets ids of ours as UUIDs or numbers, others as `NAME`s."""
    pattern = _PLACE.sub(lambda place: f"(?P<{place[1]}>{_pattern(place[1])})", address)
    _ADDRESSES.append(address.replace("\\", ""))
    if _PLACE.search(address):
        loose = _PLACE.sub(lambda place: rf"(?P<{place[1]}>[^/]+)", address)
        _ANY_ID.append(re.compile(rf"/api/{loose}/?\Z"))
    return URLPattern(_Route(rf"^{pattern}/?$", name=name, is_endpoint=True), view, None, name)


def addresses() -> list[str]:
    """Every address below `/api/`, in order, as `exec/logs/{task_id}/stream`."""
    return sorted({address for address in _ADDRESSES if address})


def malformed_ids(path: str) -> dict[str, list[str]]:
    """For an address that led nowhere: the places whose values are no ids, where that is why."""
    for pattern in _ANY_ID:
        found = pattern.match(path)
        if found is None:
            continue
        return {
            name: [_MUST_BE[_pattern(name)]]
            for name, value in found.groupdict().items()
            if not re.fullmatch(_pattern(name), value)
        }
    return {}


def _pattern(place: str) -> str:
    if place in _OURS:
        return UUID_PATTERN
    if place in _NUMBERS:
        return NUMBER_PATTERN
    return ACCOUNT if place == "account" else NAME
