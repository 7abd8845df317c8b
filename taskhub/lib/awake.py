"""Activity markers: which periodic jobs have something to do, as keys in Redis that expire.

At rest beat sends a job that has a marker only now and then (`taskhub.lib.beat`). The process that makes work for such
a job sets its marker, and the job sets it again for as long as something is under way: it runs at its usual pace from
within a second after the work was made until that is done. A marker that is lost, with Redis, costs the seconds until
the next job that is sent at rest, which finds the work and sets the marker again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection
from typing import Final

import redis

from taskhub.lib.redis_client import redis_client

log = logging.getLogger(__name__)

WRITES: Final = "writes"
"""Set by each event that is published: it may have made work for any job."""
EXECUTIONS: Final = "executions"
CLAIMS: Final = "claims"
SNAPSHOTS: Final = "snapshots"
WEBHOOKS: Final = "webhooks"
SUBSCRIPTIONS: Final = "subscriptions"
SANDBOX_LIST: Final = "sandbox-list"

KEPT_S: Final = 20.0
"""Longer than the period of any job that sets its own marker again."""
_PREFIX: Final = "taskhub:awake:"
_AGAIN_S: Final = 1.0
"""How often a process sets the same marker at most: a write costs no more than others do."""
_TIMEOUT_S: Final = 0.5

_set_at: Final[dict[str, float]] = {}
_lock: Final = threading.Lock()


def note(marker: str) -> None:
    """Jobs with this marker have something to do. Call it after the commit. Without Redis the next job finds out."""
    now = time.monotonic()
    with _lock:
        if now - _set_at.get(marker, -_AGAIN_S) < _AGAIN_S:
            return
        _set_at[marker] = now
    try:
        redis_client(timeout_s=_TIMEOUT_S).set(f"{_PREFIX}{marker}", 1, px=int(1000 * KEPT_S))
    except redis.RedisError as error:
        log.info("the marker %s is not set (%s)", marker, type(error).__name__)


def read(markers: Collection[str]) -> set[str]:
    """Those of the markers that are set. Raises redis.RedisError."""
    wanted = list(markers)
    values = redis_client(timeout_s=_TIMEOUT_S).mget([f"{_PREFIX}{marker}" for marker in wanted])
    return {marker for marker, value in zip(wanted, values, strict=True) if value is not None}


def forget() -> None:
    """As after a restart of this process."""
    with _lock:
        _set_at.clear()
