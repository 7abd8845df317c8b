"""Extension points: what each app contributes to the hub, named in `AppConfig.ready` and imported at first use.

By dotted path, since importing an MCP tool or a gauge loads serializers, selectors and the Daytona SDK: a process that
does not serve them, such as beat, never loads them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Final, Generic, Literal, TypeVar

from django.utils.module_loading import import_string

T = TypeVar("T")
Point = Literal["mcp_tools", "ticket_kinds", "gauges", "asyncapi_parts"]

_paths: Final[dict[Point, list[str]]] = defaultdict(list)


def extend(point: Point, *paths: str) -> None:
    """Contribute the objects at these dotted paths; each is one object or a tuple of them."""
    _paths[point].extend(path for path in paths if path not in _paths[point])


class ExtensionPoint(Mapping[str, T], Generic[T]):
    """The contributions to a point, by name, in the order in which the apps stand in INSTALLED_APPS."""

    def __init__(self, point: Point, name_of: Callable[[T], str]) -> None:
        self._point: Point = point
        self._name_of = name_of

    @cached_property
    def loaded(self) -> dict[str, T]:
        """All of them, imported; asked for only when every app is ready."""
        found = (import_string(path) for path in _paths[self._point])
        each = (one for many in found for one in (many if isinstance(many, tuple) else (many,)))
        return {self._name_of(one): one for one in each}

    def __getitem__(self, name: str) -> T:
        return self.loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.loaded)

    def __len__(self) -> int:
        return len(self.loaded)
