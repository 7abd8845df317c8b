"""Install TaskHub's locked requirements: `python3 requirements/install.py base` (or `dev`: also for the tests).

1. Checks Python, before anything else, and says in one sentence what is missing.
2. Builds a virtual environment in `.venvs/<digest of the lock files and of this Python>` with pip, from the lock alone:
   hashes are required and dependencies are not resolved (`--no-deps`; the lock is complete), so a release that is
   published later changes nothing. `pip check` then verifies that nothing is missing.
3. Switches `.venv`, a symbolic link, to it. A changed lock is a new environment: what was dropped from the lock is not
   in it, an interrupted installation leaves the old one in use, and running processes keep theirs.

Where all of it is installed, it ends at once. A `.venv` that links to an environment elsewhere is used as it is. Exit
code 1 with a sentence if it cannot install. Python 3.6 can read this file, and says that it is too old.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

LEAST = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
LINK = ROOT / ".venv"
BUILT = ROOT / ".venvs"
LOCKS = ("base", "dev")  # dev.txt holds everything of base.txt, with the same versions
LAST_LINES = 15
INTERRUPTED = 130  # as a shell has it after Ctrl-C


class CannotInstall(Exception):
    """The message says why, in one sentence."""


def main() -> int:
    arguments = parser().parse_args()
    try:
        check_python()
        install(arguments.lock, arguments.pip)
    except CannotInstall as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. The next start installs from the beginning.\n")
        return INTERRUPTED
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description="Install the locked requirements into .venv.")
    made.add_argument("lock", choices=LOCKS, help="base: what TaskHub needs to run; dev: also what its tests need")
    made.add_argument("--pip", metavar="WHEEL", help="a wheel of pip to install with, instead of Python's own")
    return made


def check_python() -> None:
    """Raises CannotInstall."""
    least, this = ("{}.{}".format(*version) for version in (LEAST, sys.version_info))
    if sys.version_info[:2] < LEAST:
        raise CannotInstall(
            f"TaskHub needs Python {least} or newer; this is {this} ({sys.executable}). "
            f"Where a newer one is installed, name it: make run PYTHON=python{least}"
        )
    try:
        import ensurepip  # noqa: F401, PLC0415 - Debian packages it apart
        import venv  # noqa: F401, PLC0415 - likewise
    except ImportError:
        raise CannotInstall(
            f"This Python ({sys.executable}) cannot make virtual environments; "
            "on Debian and Ubuntu: apt-get install python3-venv"
        ) from None


def install(lock: str, pip_wheel: "str | None" = None) -> None:
    """Make `.venv` hold what `lock` names. Raises CannotInstall."""
    if LINK.is_symlink() and BUILT not in target_of(LINK).parents:
        sys.stderr.write(f"Using the environment that .venv links to as it is: {target_of(LINK)}\n")
        return
    BUILT.mkdir(exist_ok=True)
    with (BUILT / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # of two installations at once the second finds the work done
        environment = BUILT / digest()
        if not marker(environment, lock).exists():
            build(environment, lock, pip_wheel)
        switch_to(environment)


def target_of(link: Path) -> Path:
    return Path(os.path.realpath(str(link)))


def digest() -> str:
    """Of everything that an environment depends on. Not every lock is everywhere: an image has base.txt alone."""
    parts = [sys.version, base_python(), str(ROOT)]
    files = [ROOT / "requirements" / f"{lock}.txt" for lock in LOCKS]
    lines = [line.strip() for file in files if file.exists() for line in file.read_text(encoding="utf-8").splitlines()]
    parts += [line for line in lines if not line.startswith("#")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def base_python() -> str:
    """Not the Python of an environment that is active in the caller's shell: that may be the one to be replaced."""
    return os.path.realpath(sys.executable)


def marker(environment: Path, lock: str) -> Path:
    """A file that is written when all of `lock` is installed."""
    return environment / f"{lock}.installed"


def build(environment: Path, lock: str, pip_wheel: "str | None") -> None:
    """Raises CannotInstall."""
    file = ROOT / "requirements" / f"{lock}.txt"
    if not any(marker(environment, each).exists() for each in LOCKS):
        options = ["--clear", *(["--without-pip"] if pip_wheel else [])]
        run([base_python(), "-m", "venv", *options, str(environment)], "The virtual environment cannot be made")
    # Isolated (-I): neither PYTHONPATH nor the user's own packages count as installed.
    pip = [str(environment / "bin" / "python"), "-I", *([f"{pip_wheel}/pip"] if pip_wheel else ["-m", "pip"])]
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--require-hashes", "--no-deps"]
    Installation(environment, file).run([*pip, "install", *options, "--requirement", str(file)])
    run([*pip, "check", "--disable-pip-version-check"], f"{file.name} is not complete")
    for each in LOCKS[: LOCKS.index(lock) + 1]:
        marker(environment, each).touch()


def run(command: "list[str]", otherwise: str) -> None:
    """Raises CannotInstall, after what the command said."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        sys.stderr.write(done.stdout)
        raise CannotInstall(f"{otherwise}; the lines above say why.")


class Installation:
    """One run of pip, with its progress on stderr: packages done of all."""

    def __init__(self, environment: Path, file: Path) -> None:
        self._environment = environment
        self._file = file
        lines = file.read_text(encoding="utf-8").splitlines()
        self._all = sum("==" in line and not line.startswith((" ", "#")) for line in lines)
        self._lines: "list[str]" = []
        self._fetched = 0
        self._installs = threading.Event()
        self._shown = ""

    def run(self, command: "list[str]") -> None:
        """Raises CannotInstall."""
        sys.stderr.write(f"Installing {self._file.name} into .venv (once for each change of it):\n")
        pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        reader = threading.Thread(target=self._read, args=(pip.stdout,), daemon=True)
        reader.start()
        try:
            while reader.is_alive():
                self._show()
                reader.join(0.5)
            code = pip.wait()
        finally:
            pip.kill()
            pip.wait()
        if code != 0:
            sys.stderr.write("\n".join(["", *self._lines[-LAST_LINES:], ""]))
            raise CannotInstall(f"pip could not install {self._file.name}; its last lines are above.")
        self._write(self._all, "installed", last=True)

    def _read(self, output: "list[str]") -> None:
        for line in output:
            self._lines.append(line.rstrip())
            words = line.split()
            if words[:1] == ["Ignoring"]:
                self._all -= 1  # it is for another platform
            elif words[:1] == ["Collecting"] or words[:3] == ["Requirement", "already", "satisfied:"]:
                self._fetched += 1
            elif words[:3] == ["Installing", "collected", "packages:"]:
                self._installs.set()

    def _show(self) -> None:
        if self._installs.is_set():
            done = sum(1 for _ in self._environment.glob("lib/python*/site-packages/*.dist-info"))
            self._write(min(done, self._all), "installed")
        else:
            self._write(self._fetched, "fetched")

    def _write(self, done: int, what: str, *, last: bool = False) -> None:
        """In place on a terminal; elsewhere a line for every twenty packages."""
        text = f"{done} of {self._all} packages {what}"
        if sys.stderr.isatty():
            sys.stderr.write("\r  {}{}".format(text.ljust(40), "\n" if last else ""))
        elif last or f"{done // 20} {what}" != self._shown:
            self._shown = f"{done // 20} {what}"
            sys.stderr.write(f"  {text}\n")
        sys.stderr.flush()


def switch_to(environment: Path) -> None:
    """Point `.venv` to it, in one step. The environment that was in use stays until the next change."""
    before = target_of(LINK) if LINK.is_symlink() else None
    if before == environment:
        return
    if LINK.exists() and not LINK.is_symlink():
        # The release before this installer had its environment there.
        before = BUILT / "before"
        shutil.rmtree(str(before), ignore_errors=True)
        LINK.rename(before)
    new = BUILT / ".link"
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    new.symlink_to(environment.relative_to(ROOT))
    new.replace(LINK)
    for other in BUILT.iterdir():
        if other.is_dir() and other not in (environment, before):
            shutil.rmtree(str(other), ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
