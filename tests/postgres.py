"""A private PostgreSQL for the tests that need one, where its binaries are installed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier

from tests.processes import Process, free_port, reaper


def find_binaries() -> Path | None:
    """The folder with `initdb` and `postgres`: on PATH, or where Debian keeps them; None if they are not installed."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


def _owner() -> str | None:
    """PostgreSQL refuses to run as root: then it runs as its own account."""
    if os.geteuid() != 0:
        return None
    return next((name for name in ("postgres", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()}), None)


class Postgres:
    """A server on a folder and a port of its own, with a superuser `taskhub`; it may be killed and started again."""

    def __init__(self, binaries: Path, folder: Path, *, standby_of: Postgres | None = None) -> None:
        self._binaries = binaries
        self._folder = folder
        self._data = folder / "data"
        self._data.mkdir(mode=0o700)
        owner = _owner()
        if owner is not None:
            shutil.chown(folder, owner)
            shutil.chown(self._data, owner)
        self._as_owner = ["setpriv", "--reuid", owner, "--regid", owner, "--clear-groups"] if owner else []
        self._env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        if standby_of is None:
            self._run("initdb", "-D", self._data, "-U", "taskhub", "-A", "trust", "-E", "UTF8", "--no-sync")
        else:
            self._run("pg_basebackup", "-D", self._data, "-d", standby_of.url, "-R", "-c", "fast", "--no-sync")
        self.port = free_port()
        self.url = f"postgresql://taskhub@127.0.0.1:{self.port}/postgres"

    def _run(self, program: str, *arguments: str | Path) -> None:
        subprocess.run(
            [*self._as_owner, self._binaries / program, *arguments],
            check=True,
            capture_output=True,
            env=self._env,
            cwd=self._folder,
        )

    def start(self, said: str = "ready to accept connections") -> None:
        """Returns when it takes connections; after a kill, when it has recovered."""
        options = [
            *("-c", "listen_addresses=127.0.0.1", "-c", f"port={self.port}"),
            *("-c", f"unix_socket_directories={self._folder}"),
        ]
        command = [*self._as_owner, str(self._binaries / "postgres"), "-D", str(self._data), *options]
        self.process = Process(command, self._env, cwd=self._folder)
        self.process.wait_for_line(said)

    def crash(self) -> None:
        """End at once, without writing down anything more; the next start recovers."""
        self.process.signal(signal.SIGQUIT)
        self.process.end()


def make_database(server_url: str, name: str) -> str:
    """The URL of an empty database of this server, in the place of the one that may be there."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
    return f"{server_url.rpartition('/')[0]}/{name}"


@contextmanager
def running_postgres(binaries: Path) -> Iterator[Postgres]:
    """Ended, and its data removed, on the way out."""
    # Not below pytest's folder, which only the user of the tests may enter.
    with tempfile.TemporaryDirectory(prefix="taskhub-pg-", ignore_cleanup_errors=True) as name:
        reaper.tell("folder", name)
        postgres = Postgres(binaries, Path(name))
        postgres.start()
        try:
            yield postgres
        finally:
            postgres.process.end()
