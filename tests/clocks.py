"""Processes whose wall clock a test sets; their monotonic clock goes on as it is (`wall_clock.c`)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

COMPILER = shutil.which("cc")
_SOURCE = Path(__file__).with_name("wall_clock.c")


class WallClock:
    """The wall clock of all processes that are started with `env`."""

    def __init__(self, folder: Path) -> None:
        assert COMPILER is not None
        library, self._file = folder / "wall_clock.so", folder / "wall_clock"
        command = [COMPILER, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(_SOURCE)]
        subprocess.run(command, check=True, timeout=60)
        self.set(0)
        self.env = {"LD_PRELOAD": str(library), "WALL_CLOCK_FILE": str(self._file)}

    def set(self, offset_s: int) -> None:
        """Seconds before or after the real time; in place, for the processes have it mapped."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(offset_s.to_bytes(8, "little", signed=True))
