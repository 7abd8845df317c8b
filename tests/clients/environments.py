"""Environments of the clients: one per Python lock file, and one node_modules, kept in a cache folder.

`python -m tests.clients.environments` makes them ahead, with the npm packages of `make mcp-conformance`.
`sseclient` and `sseclient-py` install the same module, so each client has an environment of its own.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.node import find_node, install_npm

HERE: Final = Path(__file__).resolve().parent
NPM: Final = HERE / "npm"
LOCKS: Final = HERE / "python"
CACHE: Final = Path(os.environ.get("TASKHUB_CLIENTS_CACHE") or HERE.parents[1] / "var" / "clients")


def make_all() -> None:
    """Installs what is missing: hashed from lock files, three at a time. Raises CalledProcessError."""
    with ThreadPoolExecutor(3) as pool:
        for made in [pool.submit(install_npm, NPM), *(pool.submit(python, lock.stem) for lock in LOCKS.glob("*.txt"))]:
            made.result()


def python(name: str) -> str:
    """The interpreter of an environment, which is made if its lock file has changed."""
    lock = LOCKS / f"{name}.txt"
    digest = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = CACHE / f"{name}-{digest}"
    interpreter = folder / "bin" / "python"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=False, symlinks=True)
        options = [
            "--quiet",
            "--disable-pip-version-check",
            "--no-warn-script-location",
            "--no-deps",
            "--require-hashes",
        ]
        pip = [sys.executable, "-m", "pip", "--python", str(interpreter)]
        subprocess.run([*pip, "install", *options, "-r", str(lock)], check=True, timeout=900)
        (folder / "complete").touch()
    return str(interpreter)


def node() -> str:
    """The Node.js of the lock file; the machine's own may be too old."""
    return find_node(NPM) or "node"


if __name__ == "__main__":
    make_all()
    install_npm(HERE.parents[1] / ".ci" / "mcp")
