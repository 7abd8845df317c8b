"""What the command line decides, in one frozen object that every part of the server may read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Dialect = Literal["v0.190", "new"]

MINIMUM_KEY_LENGTH = 16


@dataclass(frozen=True, kw_only=True)
class Options:
    """`transition_s`: how long creating, starting, stopping and destroying are visible at least, in seconds.

    `minute_s`: the length of a minute of the auto-stop, auto-delete and time-to-live intervals, in seconds.
    `dialect`: which generation of Daytona's error bodies is spoken.
    `hide`: folders beside `data_dir` that processes in bubblewrap find empty.
    `kill_grace_s`: what a process has between SIGTERM and SIGKILL, in seconds.
    """

    data_dir: Path
    key: str
    transition_s: float = 0.05
    minute_s: float = 60.0
    dialect: Dialect = "v0.190"
    allow_bwrap: bool = True
    faults: bool = False
    hide: tuple[Path, ...] = ()
    kill_grace_s: float = 5.0
