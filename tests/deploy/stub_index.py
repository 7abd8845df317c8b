"""A package index of stub wheels: the names, versions and dependencies of a lock file, without any content.

Each package is there in its locked version and in a newer one, as if all of them had been released again since.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Final

from packaging.markers import Marker

_PIN: Final = re.compile(r"(?P<name>[\w.-]+)(?P<extras>\[.*?\])?==(?P<version>[^\s;]+)(?: ; (?P<marker>.*?))? \\")


@dataclass(frozen=True)
class Pin:
    """A line of a lock. `extras` is empty, or reads `[one,two]`."""

    name: str
    extras: str
    version: str


def pins(lock: Path) -> list[Pin]:
    """What the lock installs on this platform."""
    found = [match for line in lock.read_text().splitlines() if (match := _PIN.match(line))]
    return [
        Pin(match["name"], (match["extras"] or "").replace(" ", ""), match["version"])
        for match in found
        if match["marker"] is None or Marker(match["marker"]).evaluate()
    ]


def newer(version: str) -> str:
    """A later version that fits whatever the locked one fits, but for an exact pin."""
    return f"{version.partition('.post')[0]}.post999"


def dependencies(name: str) -> list[str]:
    """The lines of the package's metadata that say what it depends on; the tests' environment has every package."""
    try:
        described = metadata(name)
    except PackageNotFoundError:
        raise AssertionError(f"{name} is locked, but not in the environment of the tests") from None
    return [
        *(f"Requires-Dist: {needed}" for needed in described.get_all("Requires-Dist") or ()),
        *(f"Provides-Extra: {extra}" for extra in described.get_all("Provides-Extra") or ()),
    ]


def make_wheel(folder: Path, name: str, version: str, described: list[str]) -> str:
    """Returns the SHA-256 of the wheel's file."""
    stem = f"{re.sub(r'[-_.]+', '_', name).lower()}-{version}"
    info = f"{stem}.dist-info"
    files = {
        f"{info}/METADATA": "\n".join(
            ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *described, ""]
        ),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: stub\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inside, text in files.items():
            wheel.writestr(zipfile.ZipInfo(inside), text)  # without the time: the same wheel has the same hash
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_index(folder: Path, packages: list[Pin], *, extras: bool = True) -> str:
    """Fill the folder, and return the lock of the packages with the stubs' hashes."""
    folder.mkdir(exist_ok=True)
    lines = []
    for pin in packages:
        described = dependencies(pin.name)
        make_wheel(folder, pin.name, newer(pin.version), described)
        digest = make_wheel(folder, pin.name, pin.version, described)
        lines.append(f"{pin.name}{pin.extras if extras else ''}=={pin.version} \\\n    --hash=sha256:{digest}\n")
    return "".join(lines)
