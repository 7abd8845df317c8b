"""Turns of jobs that come every second: one of a kind at a time, over all workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from django.conf import settings


@contextmanager
def alone(name: str, *, at_most_s: float) -> Iterator[bool]:
    """Whether this look may begin: one that overruns is not joined by a second, unless it takes longer than that."""
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
