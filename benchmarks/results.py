"""Figures, their targets, and the report: `results.json` is what was measured, `RESULTS.md` is for people."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent
JSON: Final = FOLDER / "results.json"
REPORT: Final = FOLDER / "RESULTS.md"
PROFILE: Final = FOLDER / "profile.md"
"""Where the time goes, written by hand after looking; the report ends with it."""

_PREFACE: Final = """# Benchmarks: results

Written by `python -m benchmarks`; `results.json` and `profile.md` are its sources. CPU is the web process's own user
and system time over all its threads, from the kernel: other processes of the machine do not enter it. Every run of
TaskHub checks that each stream got every event once and in order; one in which a stream did not ends in an error and
gives no figure.
"""


@dataclass(frozen=True)
class Figure:
    """One quantity, once per run. `most` or `least` is the target, if there is one."""

    name: str
    unit: str
    values: Sequence[float]
    most: float | None = None
    least: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def target(self) -> str:
        if self.most is not None:
            return f"≤ {self.most:g}"
        return f"≥ {self.least:g}" if self.least is not None else ""

    @property
    def verdict(self) -> str:
        if self.most is not None:
            return "reached" if self.median <= self.most else "missed"
        if self.least is not None:
            return "reached" if self.median >= self.least else "missed"
        return ""

    def row(self) -> str:
        cells = [self.name, *map(_round, (self.median, min(self.values), max(self.values))), self.unit]
        return "| " + " | ".join([*cells, str(len(self.values)), self.target, self.verdict]) + " |"


def keep(scenario: str, method: str, figures: Sequence[Figure]) -> None:
    """Put a scenario's figures in the place of its former ones, and write the report anew."""
    known = _read()
    known[scenario] = {
        "method": method,
        "machine": describe_machine(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "figures": [asdict(figure) for figure in figures],
    }
    JSON.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
    write_report()


def write_report() -> None:
    """`RESULTS.md` from `results.json` and `profile.md`."""
    parts = [_PREFACE]
    for name, kept in _read().items():
        figures = [Figure(**figure) for figure in kept["figures"]]
        parts += [
            f"\n## {name}\n\n{kept['method']}\n\n{kept['machine']}. {kept['date']}.\n",
            "\n| figure | median | min | max | unit | runs | target | |\n|---|---|---|---|---|---|---|---|\n",
            *(figure.row() + "\n" for figure in figures),
        ]
    if PROFILE.exists():
        parts.append(f"\n{PROFILE.read_text()}")
    REPORT.write_text("".join(parts))


def describe_machine() -> str:
    """CPU model, cores, memory, kernel and Python."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "CPU?"
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, load average at the end {os.getloadavg()[0]:.1f}"
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _read() -> dict[str, Any]:
    return json.loads(JSON.read_text()) if JSON.exists() else {}


def _round(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
