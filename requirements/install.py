"""Install TaskHub's locked requirements: `python3 requirements/install.py base` (or `dev`: also for the tests).

1. Checks Python, before anything else, and says in one sentence what is missing.
2. Builds a virtual environment in `.venvs/<digest of the lock files and of this Python>` with pip, from the lock alone:
   hashes are required and dependencies are not resolved (`--no-deps`; the lock is complete), so a release that somebody
   publishes later changes nothing. `pip check` then verifies that nothing is missing.
3. Switches `.venv`, a symbolic link, to it. A changed lock is a new environment: what was dropped from the lock is not
   in it, an interrupted installation leaves the old one in use, and processes that run keep theirs.

Installed already: it ends at once. A `.venv` that links to somewhere else is used as it is. Exit code 1 with a sentence
if it cannot install. Any Python 3 can read this file: an old one is told that it is too old.
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


class CannotInstall(Exception):
    """The message says why, in one sentence."""


def main():
    arguments = parser().parse_args()
    try:
        check_python()
        install(arguments.lock, arguments.pip)
    except CannotInstall as error:
        sys.stderr.write("%s\n" % error)
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted; the next start installs from the beginning.\n")
        return 130
    return 0


def parser():
    made = argparse.ArgumentParser(description="Install the locked requirements into .venv.")
    made.add_argument("lock", choices=LOCKS, help="base: what TaskHub needs to run; dev: also what its tests need")
    made.add_argument("--pip", metavar="WHEEL", help="a wheel of pip to install with, instead of Python's own")
    return made


def check_python():
    """Raises CannotInstall."""
    if sys.version_info[:2] < LEAST:
        raise CannotInstall(
            "TaskHub needs Python %d.%d or newer; this is %d.%d (%s). If there is a newer one, name it: "
            "make PYTHON=python3.12 run" % (LEAST + tuple(sys.version_info[:2]) + (sys.executable,))
        )
    try:
        import ensurepip  # noqa: F401, PLC0415 - Debian packages it apart
        import venv  # noqa: F401, PLC0415 - likewise
    except ImportError:
        raise CannotInstall(
            "This Python (%s) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv"
            % sys.executable
        ) from None


def install(lock, pip_wheel=None):
    """Make `.venv` hold what `lock` names. Raises CannotInstall."""
    if LINK.is_symlink() and BUILT not in target_of(LINK).parents:
        sys.stderr.write("Using the environment that .venv links to as it is: %s\n" % target_of(LINK))
        return
    BUILT.mkdir(exist_ok=True)
    with (BUILT / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # two installations at once: the second finds the work done
        environment = BUILT / digest()
        if not marker(environment, lock).exists():
            build(environment, lock, pip_wheel)
        switch_to(environment)


def target_of(link):
    return Path(os.path.realpath(str(link)))


def digest():
    """Of everything that an environment depends on; a lock that is not here (an image has one alone) does not count."""
    parts = [sys.version, base_python(), str(ROOT)]
    files = [ROOT / "requirements" / ("%s.txt" % lock) for lock in LOCKS]
    parts += [file.read_text(encoding="utf-8") for file in files if file.exists()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def base_python():
    """Not the one of an environment that is active in the caller's shell: that may be the one to be replaced."""
    return os.path.realpath(sys.executable)


def marker(environment, lock):
    """A file that is written when all of `lock` is installed."""
    return environment / ("%s.installed" % lock)


def build(environment, lock, pip_wheel):
    file = ROOT / "requirements" / ("%s.txt" % lock)
    python = environment / "bin" / "python"
    if not any(marker(environment, each).exists() for each in LOCKS):
        options = ["--clear"] + (["--without-pip"] if pip_wheel else [])
        run([base_python(), "-m", "venv"] + options + [str(environment)], "The virtual environment cannot be made")
    # Isolated (-I): neither PYTHONPATH nor the user's own packages count as installed.
    pip = [str(python), "-I"] + ([os.path.join(pip_wheel, "pip")] if pip_wheel else ["-m", "pip"])
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--require-hashes", "--no-deps"]
    Installation(environment, file).run(pip + ["install"] + options + ["--requirement", str(file)])
    run(pip + ["check", "--disable-pip-version-check"], "The lock %s is not complete" % file.name)
    for each in LOCKS[: LOCKS.index(lock) + 1]:
        marker(environment, each).touch()


def run(command, otherwise):
    """Raises CannotInstall, with what the command said above it."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    if done.returncode != 0:
        sys.stderr.write(done.stdout)
        raise CannotInstall("%s; the lines above say why." % otherwise)


class Installation:
    """One run of pip, with its progress on stderr: packages done of all."""

    def __init__(self, environment, file):
        self._environment = environment
        self._file = file
        lines = file.read_text(encoding="utf-8").splitlines()
        self._all = sum("==" in line and not line.startswith((" ", "#")) for line in lines)
        self._lines = []
        self._fetched = 0
        self._installs = threading.Event()
        self._shown = ""

    def run(self, command):
        """Raises CannotInstall."""
        sys.stderr.write("Installing %s into .venv (once for each change of it):\n" % self._file.name)
        pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
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
            raise CannotInstall("pip could not install %s; its last lines are above." % self._file.name)
        self._write("%d of %d packages installed" % (self._all, self._all), last=True)

    def _read(self, output):
        for line in output:
            self._lines.append(line.rstrip())
            words = line.split()
            if words[:1] == ["Ignoring"]:
                self._all -= 1  # for another platform
            elif words[:1] == ["Collecting"] or words[:3] == ["Requirement", "already", "satisfied:"]:
                self._fetched += 1
            elif words[:3] == ["Installing", "collected", "packages:"]:
                self._installs.set()

    def _show(self):
        if self._installs.is_set():
            done = sum(1 for _ in self._environment.glob("lib/python*/site-packages/*.dist-info"))
            self._write("%d of %d packages installed" % (min(done, self._all), self._all))
        else:
            self._write("%d of %d packages fetched" % (self._fetched, self._all))

    def _write(self, text, last=False):
        """In place on a terminal; elsewhere a line for the first and the last, and for what changed a good deal."""
        if sys.stderr.isatty():
            sys.stderr.write("\r  %s%s" % (text.ljust(40), "\n" if last else ""))
        elif last or text.split()[0][:-1] + text[-9:] != self._shown:
            self._shown = text.split()[0][:-1] + text[-9:]
            sys.stderr.write("  %s\n" % text)
        sys.stderr.flush()


def switch_to(environment):
    """In one step for whoever starts a process meanwhile; the environment in use until now stays until the next one."""
    before = target_of(LINK) if LINK.is_symlink() else None
    if before == environment:
        return
    if LINK.exists() and not LINK.is_symlink():
        # Of a release that installed into it directly.
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
