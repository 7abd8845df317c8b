"""Distributed lock: at most one run of a periodic job, over all workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from django.conf import settings


@contextmanager
def alone(name: str, *, at_most_s: float) -> Iterator[bool]:
    """Yields True if the lock was acquired; it expires after `at_most_s`."""
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2) as client:
        lock = client.lock(name, timeout=at_most_s, blocking=False)
        if not lock.acquire():
            yield False
            return
        try:
            yield True
        finally:
            if lock.owned():
                lock.release()
