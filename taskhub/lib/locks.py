"""Distributed lock: at most one run of a periodic job, over all workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from taskhub.lib.redis_client import redis_client

_TIMEOUT_S: Final = 2


@contextmanager
def alone(name: str, *, at_most_s: float) -> Iterator[bool]:
    """Yields True if the lock was acquired; it expires after `at_most_s`."""
    lock = redis_client(timeout_s=_TIMEOUT_S).lock(name, timeout=at_most_s, blocking=False)
    if not lock.acquire():
        yield False
        return
    try:
        yield True
    finally:
        if lock.owned():
            lock.release()
