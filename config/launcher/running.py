"""Which hub runs: a record in its data folder, for commands about it (`make stop`, `make link`, `manage.py`).

A launcher holds a lock on its data folder and keeps `hub.json` there (mode 600): its process, its port, and the
settings that a command needs to use the same database, Redis and secret. A hub that keeps its data elsewhere than in
`var/` is also named in `.running/` of the project, so that a command in another terminal finds it. What a killed
launcher leaves of both does not count, because the lock goes with the process.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
USUAL: Final = ROOT / "var"
_ELSEWHERE: Final = ROOT / ".running"
_RECORD: Final = "hub.json"
_SECRETS: Final = ("DATABASE_URL", "REDIS_URL", "TASKHUB_BROKER_URL", "SECRET_KEY")
_SETTINGS: Final = (*_SECRETS, *(f"{name}_FILE" for name in _SECRETS), "TASKHUB_PORT")


class SeveralHubsError(Exception):
    """Several hubs of this project run, none of them on `var/`; the message names their data folders."""


@dataclass(frozen=True)
class RunningHub:
    """`settings`: environment variables, as the hub's own processes have them."""

    pid: int
    port: int
    settings: dict[str, str]

    @classmethod
    def of(cls, port: int, environment: Mapping[str, str]) -> RunningHub:
        """The hub of this process."""
        settings = {name: environment[name] for name in _SETTINGS if environment.get(name)}
        return cls(os.getpid(), port, settings | {"TASKHUB_PORT": str(port)})

    def record(self, data_dir: Path) -> None:
        new = data_dir / f"{_RECORD}.new"
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
        new.replace(data_dir / _RECORD)
        if data_dir != USUAL:
            # The project may be read-only, as it is in the image.
            with suppress(OSError):
                _ELSEWHERE.mkdir(exist_ok=True)
                (_ELSEWHERE / str(self.pid)).write_text(str(data_dir), encoding="utf-8")


def forget(data_dir: Path) -> None:
    """At the end of the hub of this process, and of what a killed one left."""
    with suppress(OSError):
        (data_dir / _RECORD).unlink(missing_ok=True)
        (_ELSEWHERE / str(os.getpid())).unlink(missing_ok=True)


def running_on(data_dir: Path) -> RunningHub | None:
    """The hub that runs on this folder."""
    if not is_taken(data_dir):
        return None
    try:
        return RunningHub(**json.loads((data_dir / _RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def is_taken(data_dir: Path) -> bool:
    """Whether a launcher holds the lock on the folder."""
    try:
        descriptor = os.open(data_dir, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def choose_data_dir(environment: Mapping[str, str]) -> Path:
    """The folder that a command is about: the one that is set, else that of the hub that runs, else `var/`.

    Raises SeveralHubsError.
    """
    if environment.get("TASKHUB_DATA_DIR"):
        return Path(environment["TASKHUB_DATA_DIR"]).resolve()
    if is_taken(USUAL):
        return USUAL
    elsewhere = _running_elsewhere()
    if len(elsewhere) > 1:
        folders = ", ".join(str(folder) for folder in sorted(elsewhere))
        raise SeveralHubsError(f"several hubs run here, on {folders}; choose one with TASKHUB_DATA_DIR.")
    return elsewhere.pop() if elsewhere else USUAL


def _running_elsewhere() -> set[Path]:
    found = set()
    for named in _ELSEWHERE.glob("*"):
        with suppress(OSError):
            folder = Path(named.read_text(encoding="utf-8"))
            hub = running_on(folder)
            if hub is None or str(hub.pid) != named.name:
                named.unlink(missing_ok=True)
            else:
                found.add(folder)
    return found
