"""The parts that the hub stands on, each tried as the hub uses it: by writing.

A part that can be read may still take no writes: a full disk, a replica, a lock that is never given back. Each function
returns `ok`, or what is wrong in a few words.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import redis
from celery import current_app
from django.conf import settings
from django.db import DatabaseError, connection
from kombu.exceptions import OperationalError

from taskhub.lib.database_errors import kind_of_trouble
from taskhub.lib.database_limits import time_limits
from taskhub.observability.heartbeat import READYZ
from taskhub.observability.metrics_store import note_heartbeat

OK: Final = "ok"
AWAY: Final = "does not answer"
NO_WRITES: Final = "takes no writes"
REPLICA: Final = "read-only replica"
FULL: Final = "disk full"
_DATABASE: Final = {"full": FULL, "read-only": REPLICA, "locked": f"{NO_WRITES} (locked)", "away": AWAY}
_KEY: Final = "taskhub:readyz"
_KEPT_S: Final = 60
_SQLITE_WAIT_MS: Final = 500
_BLOCK: Final = b"\0" * 4096


def database() -> str:
    """Reads, then writes a heartbeat row."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM taskhub_task LIMIT 1")
    except DatabaseError:
        return AWAY
    try:
        with _short_waits():
            note_heartbeat(READYZ)
    except DatabaseError as error:
        return _DATABASE.get(kind_of_trouble(error) or "", NO_WRITES)
    return OK


@contextmanager
def _short_waits() -> Iterator[None]:
    """A check says in a second what a request would wait for."""
    with time_limits(lock_s=1, statement_s=2):
        if connection.vendor != "sqlite":
            yield
            return
        with connection.cursor() as cursor:
            (before,) = cursor.execute("PRAGMA busy_timeout").fetchone()
            cursor.execute(f"PRAGMA busy_timeout = {_SQLITE_WAIT_MS}")
        try:
            yield
        finally:
            with connection.cursor() as cursor:
                cursor.execute(f"PRAGMA busy_timeout = {int(before)}")


def notifications() -> str:
    """Redis: a key that expires."""
    try:
        with _new_connection() as client:
            client.set(_KEY, 1, ex=_KEPT_S)
    except redis.RedisError as error:
        return _redis_trouble(error)
    return OK


def redis_answers() -> bool:
    """Whether events can be heard; nothing is written."""
    try:
        with _new_connection() as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def broker() -> str:
    """A connection; and, where the broker is a Redis, a key that expires."""
    try:
        with current_app.connection_for_write() as opened:
            opened.ensure_connection(max_retries=0, timeout=1)
            if opened.transport.driver_type == "redis":
                channel: Any = opened.default_channel
                channel.client.set(f"{_KEY}:broker", 1, ex=_KEPT_S)
    except redis.RedisError as error:
        return _redis_trouble(error)
    except (OperationalError, OSError):
        return AWAY
    return OK


def _new_connection() -> redis.Redis:
    """A check must not rest on a connection that was opened before."""
    return redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=0.5, socket_timeout=0.5)


def _redis_trouble(error: redis.RedisError) -> str:
    if isinstance(error, redis.exceptions.ReadOnlyError):
        return REPLICA
    return NO_WRITES if isinstance(error, redis.exceptions.ResponseError) else AWAY


def data_folder(folder: Path, least_bytes: int) -> str:
    """A file of a block; and the free bytes, below which it counts as full before writing fails."""
    try:
        free = shutil.disk_usage(folder).free
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(_BLOCK)
            file.flush()
    except OSError as error:
        return FULL if error.errno in {errno.ENOSPC, errno.EDQUOT} else NO_WRITES
    return OK if free >= least_bytes else f"{FULL} ({free // 2**20:,} MiB free)"


def data_free_bytes() -> int:
    """Of the data folder, for accounts without privileges."""
    return shutil.disk_usage(settings.DATA_DIR).free
