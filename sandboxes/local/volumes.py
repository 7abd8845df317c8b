"""Volumes: folders in the data folder that sandboxes mount, whole or in part."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from sandboxes.local.disk import remove_tree
from sandboxes.local.errors import ControlError, timestamp
from sandboxes.local.paths import Home
from sandboxes.local.rows import ORGANIZATION_ID

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_PATH = re.compile(r"(?:/[^/\0]+)+\Z")
_ENTRIES_MOST = 400
"""A folder of the machine in which a mount point is made is put together of its entries: this many at most."""


@dataclass(frozen=True)
class Mount:
    """A volume's folder, or the folder `subpath` in it, at the absolute path `target`."""

    volume: Path
    subpath: str
    target: str

    @property
    def source(self) -> Path:
        return self.volume / self.subpath if self.subpath else self.volume

    def prepare(self) -> None:
        """Make the folder where it is missing. Raises OSError, also where a link lies in its way."""
        os.close(Home(self.volume).open_folder(self.source, make=0o700))


class Volumes:
    """A folder by name; an operator may make one by hand. An id is derived from the name."""

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir / "volumes"

    def index(self) -> list[dict[str, Any]]:
        if not self._root.is_dir():
            return []
        return [self._document(folder) for folder in sorted(self._root.iterdir()) if _is_volume(folder)]

    def get(self, id_or_name: str) -> dict[str, Any]:
        """Raises ControlError 404."""
        return self._document(self._find(id_or_name))

    def create(self, body: object) -> dict[str, Any]:
        """Raises ControlError 400, 409."""
        name = body.get("name") if isinstance(body, dict) else None
        if not isinstance(name, str) or not _NAME.match(name):
            raise ControlError(400, "name must have letters, digits, dots, hyphens and underscores")
        folder = self._root / name
        try:
            self._root.mkdir(mode=0o700, exist_ok=True)
            folder.mkdir(mode=0o700)
        except FileExistsError:
            raise ControlError(409, f"Volume with name {name} already exists") from None
        except OSError as error:
            raise ControlError(500, f"The volume could not be stored: {error.strerror or error}") from error
        return self._document(folder)

    def delete(self, id_or_name: str, in_use: Sequence[str]) -> None:
        """Raises ControlError 404; 409 while a sandbox has it."""
        folder = self._find(id_or_name)
        if _id(folder.name) in in_use:
            raise ControlError(409, f"Volume {folder.name} is in use by a sandbox")
        try:
            remove_tree(folder)
        except OSError as error:
            raise ControlError(500, f"The volume could not be removed: {error.strerror or error}") from error

    def checked(self, body: object) -> list[dict[str, str]]:
        """A creation request's `volumes`, with ids for names. Raises ControlError 400."""
        if not body:
            return []
        if not isinstance(body, list):
            raise ControlError(400, "volumes must be a list")
        checked = [self._checked(each) for each in body]
        for volume in checked:
            _guard_target(volume["mountPath"])
        return checked

    def mounts(self, volumes: Sequence[dict[str, str]]) -> tuple[Mount, ...]:
        """Of a sandbox's row. A volume that is gone is made anew: its sandbox has no other way to start."""
        known = {_id(folder.name): folder for folder in self._folders()}
        found = [(known.get(each["volumeId"]), each) for each in volumes]
        return tuple(
            Mount(folder, each.get("subpath", ""), each["mountPath"]) for folder, each in found if folder is not None
        )

    def _checked(self, given: object) -> dict[str, str]:
        if not isinstance(given, dict):
            raise ControlError(400, "volumes must be a list of objects")
        volume_id, path, subpath = given.get("volumeId"), given.get("mountPath"), given.get("subpath") or ""
        if not isinstance(volume_id, str) or not isinstance(path, str) or not isinstance(subpath, str):
            raise ControlError(400, "volumes: volumeId, mountPath and subpath must be strings")
        parts = subpath.split("/") if subpath else []
        if any(part in {"", ".", ".."} or "\0" in part for part in parts):
            raise ControlError(400, f"volumes: subpath {subpath!r} must be relative and stay in the volume")
        try:
            folder = self._find(volume_id)
        except ControlError:
            raise ControlError(400, f"Volume {volume_id} not found") from None
        return {"volumeId": _id(folder.name), "mountPath": path, **({"subpath": subpath} if subpath else {})}

    def _find(self, id_or_name: str) -> Path:
        found = next((each for each in self._folders() if id_or_name in (each.name, _id(each.name))), None)
        if found is None:
            raise ControlError(404, f"Volume with ID or name {id_or_name} not found")
        return found

    def _folders(self) -> list[Path]:
        return [folder for folder in self._root.iterdir() if _is_volume(folder)] if self._root.is_dir() else []

    def _document(self, folder: Path) -> dict[str, Any]:
        made = timestamp(datetime.fromtimestamp(folder.stat().st_ctime, UTC))
        return {
            "id": _id(folder.name),
            "name": folder.name,
            "organizationId": ORGANIZATION_ID,
            "state": "ready",
            "createdAt": made,
            "updatedAt": made,
            "lastUsedAt": None,
            "errorReason": None,
        }


def mount_arguments(mounts: Sequence[Mount]) -> tuple[list[str], list[str]]:
    """bubblewrap's arguments for the root, and for the mounts themselves, which come last. Raises OSError.

    The machine's root is read-only, so a mount point that is not there cannot be made in it. The folders in which one
    is missing are put together anew: in memory, of what they hold.
    """
    opened = sorted({folder for mount in mounts for folder in _folders_to_open(mount.target)})
    root = ["--ro-bind", "/", "/"] if not opened else []
    for folder in opened:
        if folder != Path("/"):
            root += ["--tmpfs", str(folder)]
        for entry in sorted(folder.iterdir()):
            if entry in opened:
                continue
            if entry.is_symlink():
                root += ["--symlink", str(entry.readlink()), str(entry)]
            else:
                root += ["--ro-bind-try", str(entry), str(entry)]
    binds = [word for mount in mounts for word in ("--bind", str(mount.source), mount.target)]
    return root, [*binds, *(word for folder in opened for word in ("--remount-ro", str(folder)))]


def _folders_to_open(target: str) -> list[Path]:
    """None where the mount point is there, else the folders of the machine above it."""
    if Path(target).is_dir():
        return []
    there = next(folder for folder in Path(target).parents if folder.is_dir())
    return [there, *there.parents]


def _guard_target(target: str) -> None:
    """Raises ControlError 400 for a path at which nothing can be mounted."""
    if not _PATH.match(target) or {".", ".."} & set(target.split("/")):
        raise ControlError(400, f"volumes: mountPath {target!r} must be an absolute path")
    path = Path(target)
    if path.exists() and not path.is_dir():
        raise ControlError(400, f"volumes: mountPath {target!r} is a file of this machine")
    for folder in _folders_to_open(target):
        if folder.is_symlink() or sum(1 for _ in folder.iterdir()) > _ENTRIES_MOST:
            raise ControlError(400, f"volumes: no mountPath can be made in {folder}; choose another one, as /data")


def _is_volume(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink() and _NAME.match(folder.name) is not None


def _id(name: str) -> str:
    return str(uuid5(NAMESPACE_OID, f"volume {name}"))
