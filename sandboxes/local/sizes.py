"""Sizes of sandboxes: CPUs by affinity, memory by a cgroup (v1 or v2) where one is writable, disk by counting."""

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sandboxes.local.paths import Home

GIB = 1 << 30
_GROUP = "taskhub-sandbox-"
_BLOCK_BYTES = 512


@dataclass(frozen=True)
class MemoryGroups:
    """A folder of the kernel's in which groups of processes can be made, each with a limit. `limit`: its file."""

    parent: Path
    limit: str

    def make(self, name: str, gib: int) -> Path:
        """The file that a process joins by. Raises OSError."""
        group = self.parent / f"{_GROUP}{name}"
        group.mkdir(exist_ok=True)
        (group / self.limit).write_text(str(gib * GIB))
        with suppress(OSError):  # a kernel without accounting of swap
            (group / "memory.swap.max").write_text("0")
        return group / "cgroup.procs"

    def remove(self, name: str) -> None:
        """What has no process left. One that has is found again by the next sandbox of its name, which there is not."""
        with suppress(OSError):
            (self.parent / f"{_GROUP}{name}").rmdir()


@dataclass(frozen=True)
class Bounds:
    """What processes are started with: the CPUs that they may run on, and the file of the group that they join."""

    cpus: tuple[int, ...] = ()
    group: str = ""


UNBOUND = Bounds()


class Sizes:
    """What this machine can hold sandboxes to. `memory` is None where no group can be made."""

    def __init__(self, memory: MemoryGroups | None, cpus: Sequence[int] | None = None) -> None:
        self.memory = memory
        self.cpus = tuple(sorted(os.sched_getaffinity(0)) if cpus is None else cpus)
        self._next = 0

    def hold(self, name: str, sizes: dict[str, int]) -> Bounds:
        """For one sandbox. CPUs are dealt out in turn: two sandboxes of one CPU each have different ones.

        Raises OSError where the group cannot be made any more.
        """
        wanted, found = sizes.get("cpu"), len(self.cpus)
        cpus: tuple[int, ...] = ()
        if wanted is not None and wanted < found:
            cpus = tuple(self.cpus[(self._next + n) % found] for n in range(wanted))
            self._next = (self._next + wanted) % found
        gib = sizes.get("memory")
        group = str(self.memory.make(name, gib)) if gib is not None and self.memory is not None else ""
        return Bounds(cpus, group)

    def release(self, name: str) -> None:
        if self.memory is not None:
            self.memory.remove(name)


def find_memory_groups(proc: Path = Path("/proc/self")) -> MemoryGroups | None:
    """Where this process may make groups: tried once with one that is removed at once."""
    for found in (*_version_1(proc), *_version_2(proc)):
        probe = str(os.getpid())
        try:
            found.make(probe, 1)
        except OSError:
            continue
        else:
            return found
        finally:
            found.remove(probe)
    return None


def _version_1(proc: Path) -> list[MemoryGroups]:
    own = next((path for names, path in _own_groups(proc) if "memory" in names.split(",")), None)
    return [MemoryGroups(folder, "memory.limit_in_bytes") for folder in _mounted(proc, "cgroup", "memory", own)]


def _version_2(proc: Path) -> list[MemoryGroups]:
    """Groups below our own have limits only where our own passes the controller on."""
    own = next((path for names, path in _own_groups(proc) if not names), None)
    folders = [each for each in _mounted(proc, "cgroup2", "", own) if (each / "cgroup.subtree_control").exists()]
    for folder in folders:
        with suppress(OSError):
            (folder / "cgroup.subtree_control").write_text("+memory")
    return [MemoryGroups(folder, "memory.max") for folder in folders]


def _own_groups(proc: Path) -> list[tuple[str, str]]:
    """Controllers, and the group of this process in their tree; version 2 names none."""
    try:
        lines = (proc / "cgroup").read_text().splitlines()
    except OSError:
        return []
    return [(names, path) for _, names, path in (line.split(":", 2) for line in lines)]


def _mounted(proc: Path, kind: str, controller: str, own: str | None) -> list[Path]:
    """The folders of our own group, in the trees of this kind."""
    if own is None:
        return []
    found = []
    for line in (proc / "mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        root, point = before.split()[3:5]
        name, _, options = after.split()[:3]
        if name == kind and (not controller or controller in options.split(",")):
            # A container sees a part of the tree: what it mounts as the root is a group further down.
            inside = own.removeprefix(root) if root != "/" and own.startswith(root) else own
            found.append(Path(point) / inside.lstrip("/"))
    return [folder for folder in found if folder.is_dir()]


def disk_bytes(home: Path, *, most: int) -> int:
    """Bytes on disk of what is in a home; counting stops above `most`. Links are not followed. Raises OSError."""
    total, seen = 0, set[tuple[int, int]]()
    for _, status in Home(home).walk(home):
        place = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            if place in seen:
                continue
            seen.add(place)
        total += status.st_blocks * _BLOCK_BYTES
        if total > most:
            break
    return total
