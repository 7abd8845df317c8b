"""Options of the command line, in one frozen object that every part of the server may read."""

from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Literal

Dialect = Literal["v0.190", "new"]

MINIMUM_KEY_LENGTH = 16


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Whole CPUs, and GiB of memory and disk; None: no limit.

    `cpus`, `memory` and `disk` are for all sandboxes together, `sandbox_cpus`, `sandbox_memory` and `sandbox_disk` for
    each of them. `status` answers a request beyond the former: 403 as Daytona does, or 400 as some of its releases do.
    A sandbox that is too large for itself is always a 400.
    """

    cpus: int | None = None
    memory: int | None = None
    disk: int | None = None
    sandbox_cpus: int | None = None
    sandbox_memory: int | None = None
    sandbox_disk: int | None = None
    status: int = HTTPStatus.FORBIDDEN


@dataclass(frozen=True, kw_only=True)
class Options:
    """`transition_s`: how long creating, starting, stopping and destroying are visible at least, in seconds.

    `minute_s`: the length of a minute of the auto-stop, auto-delete and time-to-live intervals, in seconds.
    `disk_s`: how often the disk of sandboxes that have a size of it is counted, in seconds.
    `dialect`: which generation of Daytona's error bodies is spoken.
    `hide`: folders beside `data_dir` that processes in bubblewrap find empty.
    `kill_grace_s`: the time between SIGTERM and SIGKILL, in seconds.
    `limits`: the resources of all sandboxes together and of each.
    `fake_builds`: images and Dockerfiles are taken, and their builds played; nothing is built. For tests.
    `sizes_not_held`: sizes are taken though processes may not be held to all of them; else they are refused.
    """

    data_dir: Path
    key: str
    transition_s: float = 0.05
    minute_s: float = 60.0
    disk_s: float = 5.0
    dialect: Dialect = "v0.190"
    allow_bwrap: bool = True
    faults: bool = False
    hide: tuple[Path, ...] = ()
    kill_grace_s: float = 5.0
    limits: Limits = field(default_factory=Limits)
    sizes_not_held: bool = False
    fake_builds: bool = False
