"""One value per running event loop, made at first use; it is forgotten with its loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class PerLoop(Generic[T]):
    """`make` makes the value for a loop. All but `make_for` are called on the loop itself."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: WeakKeyDictionary[asyncio.AbstractEventLoop, T] = WeakKeyDictionary()

    def get(self) -> T:
        """The running loop's value, made now if there is none."""
        loop = asyncio.get_running_loop()
        value = self._values.get(loop)
        return self.make_for(loop) if value is None else value

    def make_for(self, loop: asyncio.AbstractEventLoop) -> T:
        """A new value for a loop."""
        value = self._values[loop] = self._make()
        return value

    def is_made(self) -> bool:
        """Whether the running loop has a value."""
        return asyncio.get_running_loop() in self._values

    def pop(self) -> T | None:
        """Forget the running loop's value; None if there is none."""
        return self._values.pop(asyncio.get_running_loop(), None)
