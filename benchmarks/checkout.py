"""What the checkout of a large repository costs in a sandbox, beside a plain clone of the same by the same git."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import django

from benchmarks.scenarios import Sample, Scenario
from benchmarks.servers import Template
from benchmarks.writers import WriterProcess
from tests.git_servers import ENV, git, git_daemon, make_repository

SESSION: Final = "taskhub-x"
FILES: Final = 200
FILE_BYTES: Final = 1024 * 1024


def run(_: Template, __: WriterProcess) -> Sample:
    with tempfile.TemporaryDirectory(prefix="taskhub-bench-checkout-") as name:
        folder = Path(name)
        _repository(folder / "served" / "app")
        with git_daemon(folder / "served") as address:
            clone = _measured(folder / "clone", ["git", "clone", "-q", "--depth", "1", f"{address}/app", "app"])
            checkout = _measured(folder / "home", ["bash", "command"], files=_files(f"{address}/app"))
        assert len(list((folder / "home").glob(f"**/{SESSION}/*.bin"))) == FILES, "it is not checked out"
    return {
        **{f"checkout_{key}": value for key, value in checkout.items()},
        **{f"clone_{key}": value for key, value in clone.items()},
        "ratio": checkout["cpu_s"] / clone["cpu_s"],
    }


def _repository(folder: Path) -> None:
    """Of bytes that are not compressed to less."""
    make_repository(folder, readme="large\n")
    source = random.Random(7)
    for n in range(FILES):
        (folder / f"{n}.bin").write_bytes(source.randbytes(FILE_BYTES))
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "large")


def _files(url: str) -> dict[str, bytes]:
    """What a sandbox gets for an execution in an environment with this repository, and the command that it runs."""
    django.setup()
    from sandboxes.execute.script_runner import Folders, Run  # noqa: PLC0415 - after django.setup
    from taskhub.executions.checkout import Checkout  # noqa: PLC0415 - likewise
    from taskhub.executions.executor import LogTokens  # noqa: PLC0415 - likewise

    folders = Folders(SESSION)
    checkout = Checkout(url, "main", "", 1)
    tokens = LogTokens("e" * 32, "a" * 32)
    runner = Run(folders, f"{folders.own}/try", uuid.uuid4(), tokens, "true", {}, checkout=checkout)
    return {**runner.files(), "command": f"{runner.command()}\n".encode()}


def _measured(folder: Path, command: Sequence[str], files: dict[str, bytes] | None = None) -> Sample:
    """Wall time, and by the kernel's account CPU time and the largest process of the command and all below it."""
    folder.mkdir()
    for path, content in (files or {}).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    began = time.monotonic()
    with (folder / "output").open("wb") as output:
        started = subprocess.Popen(
            command,
            cwd=folder,
            env={**ENV, "HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        _, status, used = os.wait4(started.pid, 0)
    started.returncode = os.waitstatus_to_exitcode(status)
    assert started.returncode == 0, (folder / "output").read_text()
    return {
        "wall_s": time.monotonic() - began,
        "cpu_s": used.ru_utime + used.ru_stime,
        "mib": used.ru_maxrss / 1024,
    }


SCENARIO: Final = Scenario(
    "checkout",
    f"A repository of {FILES} files of 1 MiB that do not compress, served by `git daemon`, in an environment without a "
    "setup: the runner checks it out, runs the script `true`, and looks what that has changed. Beside it `git clone "
    "--depth 1` of the same. CPU is that of all processes in the sandbox, memory that of the largest of them; the "
    "server's is not counted. The hub itself takes no part in it.",
    run,
    [
        ("checkout_wall_s", "checkout, script and look: wall time", "s", None, None),
        ("checkout_cpu_s", "checkout, script and look: CPU", "s", None, None),
        ("checkout_mib", "checkout, script and look: largest process", "MiB", None, None),
        ("clone_wall_s", "a plain clone: wall time", "s", None, None),
        ("clone_cpu_s", "a plain clone: CPU", "s", None, None),
        ("clone_mib", "a plain clone: largest process", "MiB", None, None),
        ("ratio", "CPU of the first by that of the clone", "", None, None),
    ],
)
