"""Cache of one answer for a moment: what is asked often is read at most so often."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar, Generic, TypeVar
from weakref import WeakSet

T = TypeVar("T")


class Recent(Generic[T]):
    """Calls `read` if its last result is older than `for_s` seconds; from any thread, perhaps from two at once."""

    _all: ClassVar[WeakSet[Recent[object]]] = WeakSet()

    def __init__(self, read: Callable[[], T], for_s: float) -> None:
        self._read = read
        self._for_s = for_s
        self._found: tuple[float, T] | None = None
        self._all.add(self)  # type: ignore[arg-type]  # of any type

    def get(self) -> T:
        found = self._found
        if found is None or time.monotonic() >= found[0] + self._for_s:
            found = self._found = (time.monotonic(), self._read())
        return found[1]

    @classmethod
    def forget_all(cls) -> None:
        """For tests, whose rows come and go."""
        for each in cls._all:
            each._found = None  # noqa: SLF001 - its own class
