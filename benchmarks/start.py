"""What a start costs: `make run` on an empty data folder, until it says that all is ready."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.scenarios import Sample, Scenario
from benchmarks.servers import Template, cpu_s, rss_bytes
from benchmarks.writers import WriterProcess
from tests.processes import descendants, running_hub

PARTS: Final = {"web": "uvicorn", "worker": " worker ", "sandboxes": "sandboxes.local"}
"""Words of their command lines."""


def run(_: Template, __: WriterProcess) -> Sample:
    with tempfile.TemporaryDirectory(prefix="taskhub-bench-start-") as folder:
        began = time.monotonic()
        with running_hub(Path(folder) / "data") as hub:
            sample = {"ready_s": time.monotonic() - began, "all_s": _whole_cpu_s(hub.process.pid)}
            for name, words in PARTS.items():
                pid = hub.child_pid(words)
                sample |= {f"{name}_s": cpu_s(pid), f"{name}_mib": rss_bytes(pid) / 1024**2}
            return sample


def _whole_cpu_s(launcher: int) -> float:
    """Of all that runs, and of what the launcher has waited for (the commands that prepare the database)."""
    running = sum(map(cpu_s, [launcher, *descendants(launcher)]))
    return running + cpu_s(launcher, waited_for=True)


SCENARIO: Final = Scenario(
    "start",
    "`make run` on an empty data folder, in an environment that is installed already, until it says that all is ready: "
    "the database is made, and the worker, with beat inside, has done a job. CPU time and memory of each process are "
    "those of that moment. The time until then is wall time, on two cores.",
    run,
    [
        ("ready_s", "until it is ready", "s", None, None),
        ("all_s", "CPU of all processes", "s", None, None),
        *((f"{name}_s", f"CPU of {name}", "s", None, None) for name in PARTS),
        *((f"{name}_mib", f"memory of {name}", "MiB", None, None) for name in PARTS),
    ],
)
