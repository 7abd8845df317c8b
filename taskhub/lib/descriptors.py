"""The limit of open files (RLIMIT_NOFILE): raised at the start to what the streams of a process need."""

from __future__ import annotations

import logging
import resource
from typing import Final

log = logging.getLogger(__name__)

REST: Final = 1000
"""Descriptors beside those of streams: the database, Redis, files, short requests to Daytona."""
PER_STREAM: Final = 2
"""The client's connection, and that to Daytona of a log which only this stream follows."""


def raise_descriptor_limit(streams: int, *, log_level: int = logging.WARNING) -> int:
    """Raise the soft limit to what so many streams need; logs a record of this level where the hard limit is lower.

    Returns the limit that now holds.
    """
    needed = PER_STREAM * streams + REST
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft != resource.RLIM_INFINITY and soft < needed:
        log.log(
            log_level,
            "at most %d files can be open, and TASKHUB_STREAM_LIMIT=%d needs %d: raise the hard limit (LimitNOFILE=, "
            "ulimit -Hn) or lower the setting",
            *(soft, streams, needed),
        )
    return soft
