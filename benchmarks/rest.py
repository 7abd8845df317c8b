"""What an unused hub costs: `make run`, a while after it said that all is ready.

CPU time and context switches are the kernel's, of all threads of all processes, so other work of the machine does not
enter them. A voluntary switch is a thread that goes to sleep: as many as it was woken.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from benchmarks.scenarios import Sample, Scenario
from benchmarks.servers import Template, cpu_s, rss_bytes
from benchmarks.writers import WriterProcess
from tests.processes import descendants, running_hub

SETTLES_S: Final = 40.0
"""What the start has set in motion has come to rest by then (`taskhub.lib.awake`)."""
OVER_S: Final = 60.0


def run(_: Template, __: WriterProcess) -> Sample:
    with tempfile.TemporaryDirectory(prefix="taskhub-bench-rest-") as folder, running_hub(Path(folder) / "data") as hub:
        time.sleep(SETTLES_S)
        pids = [hub.process.pid, *descendants(hub.process.pid)]
        began, cpu, wakeups = time.monotonic(), sum(map(cpu_s, pids)), _wakeups(pids)
        time.sleep(OVER_S)
        took_s = time.monotonic() - began
        return {
            "cpu_percent": 100 * (sum(map(cpu_s, pids)) - cpu) / took_s,
            "wakeups": (_wakeups(pids) - wakeups) / took_s,
            "memory_mib": sum(map(_share_bytes, pids)) / 1024**2,
            "resident_mib": sum(map(rss_bytes, pids)) / 1024**2,
            "processes": len(pids),
        }


def _share_bytes(pid: int) -> int:
    """Its resident memory; a page that several processes share counts in parts."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return 1024 * int(rollup.partition("\nPss:")[2].split()[0])


def _wakeups(pids: Iterable[int]) -> int:
    """Voluntary context switches of all their threads so far."""
    count = 0
    for pid in pids:
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
                count += int(status.read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return count


SCENARIO: Final = Scenario(
    "rest",
    f"`make run` on an empty data folder, {SETTLES_S:.0f} s after it said that all is ready, for {OVER_S:.0f} s in "
    "which it gets no request. CPU time, wake-ups (voluntary context switches) and memory of all "
    "processes together: launcher, web, worker, Redis, sandbox server. A page that several processes share counts "
    "once in the memory, and once for each in the sum of resident memory.",
    run,
    [
        ("cpu_percent", "CPU of all processes", "% of a core", 1.0, None),
        ("wakeups", "wake-ups of all threads", "1/s", 25.0, None),
        ("memory_mib", "memory of all processes", "MiB", 300.0, None),
        ("resident_mib", "sum of resident memory", "MiB", None, None),
        ("processes", "processes", "", None, None),
    ],
)
