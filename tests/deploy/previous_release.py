"""The previous release: its files from the history, and a Python that has its requirements.

The commit stands in `PREVIOUS_RELEASE`; releasing means changing that file.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.processes import ROOT

COMMIT = (Path(__file__).parent / "PREVIOUS_RELEASE").read_text().strip()
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taskhub"


class PreviousRelease:
    """Its `manage.py`, on the database and the data folder that `env` names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _extract(folder)
        self.python = _python_for(folder / "requirements" / "base.txt")

    def manage(self, env: dict[str, str], *arguments: str) -> str:
        return manage(env, *arguments, python=self.python, folder=self.folder)


def manage(env: dict[str, str], *arguments: str, python: str = sys.executable, folder: Path = ROOT) -> str:
    """What the command said; of this release unless another one's folder is given."""
    command = [python, "manage.py", *arguments]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def _extract(folder: Path) -> None:
    done = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.fail(
            f"The history lacks the previous release, commit {COMMIT}: {done.stderr.decode().strip()}. "
            "The upgrade is tested from there. In a shallow clone run `git fetch --unshallow`.",
            pytrace=False,
        )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")


def pins_of(lock: str) -> dict[str, str]:
    """The packages of a compiled requirements file that this machine wants, each with its version."""
    lines = re.findall(r"^(\w[^\\\n]*==[^\\\n]*)", lock, re.MULTILINE)
    found = [Requirement(line.strip()) for line in lines]
    return {
        each.name: next(iter(each.specifier)).version for each in found if each.marker is None or each.marker.evaluate()
    }


def _is_installed(name: str, pin: str) -> bool:
    try:
        return version(name) == pin
    except PackageNotFoundError:
        return False


def _python_for(lock: Path) -> str:
    """This one, if it has all pins of the lock; else one of an environment that is made once and kept in the cache."""
    text = lock.read_text()
    if all(_is_installed(name, pin) for name, pin in pins_of(text).items()):
        return sys.executable
    CACHE.mkdir(parents=True, exist_ok=True)
    made = CACHE / f"release-{hashlib.sha256(text.encode()).hexdigest()[:16]}-{sys.version_info.minor}"
    with (CACHE / f"{made.name}.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not (made / "complete").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", made], check=True, timeout=300)
            install = [made / "bin/pip", "install", "-q", "--no-deps", "--require-hashes", "-r", lock]
            subprocess.run(install, check=True, timeout=1200)
            (made / "complete").touch()
    return str(made / "bin" / "python")
