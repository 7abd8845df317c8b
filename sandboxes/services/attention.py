"""Attention: whether an operator looks at the admin's list of sandboxes now, as a key in Redis that expires.

While one looks, a beat job refreshes the rows; otherwise Daytona is not asked.
"""

from __future__ import annotations

import logging
from typing import Final

import redis

from taskhub.lib import awake
from taskhub.lib.redis_client import redis_client

log = logging.getLogger(__name__)

LOOKS_FOR_S: Final = 60
_KEY: Final = "taskhub:looking:sandboxes"
_PATIENCE_S: Final = 0.5
"""A page must not wait for a Redis that is away."""


def list_note_look() -> None:
    """The list was just shown. Without Redis the rows are not refreshed, and show their age."""
    try:
        redis_client(timeout_s=_PATIENCE_S).set(_KEY, 1, ex=LOOKS_FOR_S)
    except redis.RedisError as error:
        log.warning("the list of sandboxes will not be refreshed: %s", type(error).__name__)
    else:
        awake.note(awake.SANDBOX_LIST)


def list_is_looked_at() -> bool:
    """Raises redis.RedisError."""
    return bool(redis_client(timeout_s=_PATIENCE_S).exists(_KEY))
