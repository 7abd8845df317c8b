"""Expiry of periodic jobs (ticks): a tick that finds no free worker in time is dropped.

Celery's own `expires` is a time of the sender's clock, which the worker compares with its own: where the two differ by
more than a few seconds, every job would be dropped. Here Redis counts the seconds: beat sets a key that expires, the
message names it, and the worker that takes the message deletes it. A message without its key is too old.
"""

from __future__ import annotations

import logging
import uuid
from typing import Any, Final

import redis
from celery import Task
from celery.exceptions import Ignore

from taskhub.lib.redis_client import redis_client

log = logging.getLogger(__name__)

HEADER: Final = "taskhub_tick"
_PREFIX: Final = "taskhub:tick:"
_TIMEOUT_S: Final = 1


def issue(expires_s: float) -> str:
    """A tick that is good for so many seconds: the header's value. Raises RedisError."""
    tick = uuid.uuid4().hex
    redis_client(timeout_s=_TIMEOUT_S).set(f"{_PREFIX}{tick}", 1, px=max(1, int(1000 * expires_s)))
    return tick


def take(tick: str) -> bool:
    """False if it has expired, or was taken before. While Redis does not answer, no tick counts as expired."""
    try:
        return bool(redis_client(timeout_s=_TIMEOUT_S).delete(f"{_PREFIX}{tick}"))
    except redis.RedisError as error:
        log.info("it is not known whether a job has expired (%s)", type(error).__name__)
        return True


class Job(Task[Any, Any]):
    """The base class of all jobs: one with a tick runs only while that is good."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:  # noqa: ARG002 - Celery's interface
        # A worker has a message's headers as attributes, a job that is called directly as a dictionary.
        tick = getattr(self.request, HEADER, None) or (self.request.headers or {}).get(HEADER)
        if tick is not None and not take(str(tick)):
            raise Ignore
