"""Distributed lock: at most one run of a periodic job, over all workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import redis
from django.conf import settings


@contextmanager
def alone(name: str, *, at_most_s: float) -> Iterator[bool]:
    """Yields True if the lock was acquired; it expires after `at_most_s`."""
    lock = _client(settings.REDIS_URL).lock(name, timeout=at_most_s, blocking=False)
    if not lock.acquire():
        yield False
        return
    try:
        yield True
    finally:
        if lock.owned():
            lock.release()


@cache
def _client(url: str) -> redis.Redis:
    """Keeps its connections: jobs take locks every second."""
    return redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
