"""Redis clients for short calls from any thread: one for each time limit, which keeps its connections."""

from __future__ import annotations

from functools import cache

import redis
from django.conf import settings


def redis_client(*, timeout_s: float) -> redis.Redis:
    """The process's client with this limit, for a connection and for an answer. Its calls raise redis.RedisError."""
    return _client(settings.REDIS_URL, timeout_s)


@cache
def _client(url: str, timeout_s: float) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
