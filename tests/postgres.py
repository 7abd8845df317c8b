"""A private PostgreSQL for the tests that need one, where its binaries are installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import Process, free_port


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


@contextmanager
def running_postgres(binaries: Path) -> Iterator[str]:
    """Its URL, with a database named `taskhub`. Ended, and its data removed, on the way out."""
    owner = _owner()
    # Not below pytest's folder, which only the user of the tests may enter.
    with tempfile.TemporaryDirectory(prefix="taskhub-pg-", ignore_cleanup_errors=True) as name:
        data = Path(name) / "data"
        data.mkdir(mode=0o700)
        if owner is not None:
            shutil.chown(name, owner)
            shutil.chown(data, owner)
        as_owner = ["setpriv", "--reuid", owner, "--regid", owner, "--clear-groups"] if owner else []
        env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        subprocess.run(
            [*as_owner, binaries / "initdb", "-D", data, "-U", "taskhub", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True,
            capture_output=True,
            env=env,
            cwd=name,
        )
        port = free_port()
        options = ["-c", "listen_addresses=127.0.0.1", "-c", f"port={port}", "-c", f"unix_socket_directories={name}"]
        process = Process([*as_owner, str(binaries / "postgres"), "-D", str(data), *options], env, cwd=Path(name))
        try:
            process.wait_for_line("ready to accept connections")
            yield f"postgresql://taskhub@127.0.0.1:{port}/postgres"
        finally:
            process.end()
