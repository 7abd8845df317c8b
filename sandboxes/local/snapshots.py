"""Snapshots: folders that the homes of new sandboxes are copied from; a stopped sandbox can be kept as one."""

import re
import shutil
import stat
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from sandboxes.local.disk import remove_tree
from sandboxes.local.errors import ControlError, timestamp
from sandboxes.local.rows import ORGANIZATION_ID

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}\Z")
_UNFINISHED = ".unfinished-"
_LEFT_OUT = ".tmp"
_SIZES = ("cpu", "gpu", "memory", "disk")


class Snapshots:
    """A folder by name, `snapshots/<name>`; an operator may make one by hand. An id is derived from the name."""

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir / "snapshots"
        self._copying: dict[str, str] = {}
        self._failed: dict[str, str] = {}

    def clear(self) -> None:
        """What a server that was killed had begun. Raises OSError."""
        if self._root.is_dir():
            for folder in self._root.glob(f"{_UNFINISHED}*"):
                remove_tree(folder)

    def folder(self, name: object) -> Path | None:
        """The folder that a new sandbox's home is copied from, None where none is named. Raises ControlError 400."""
        if not isinstance(name, str) or not name:
            return None
        if name in self._copying:
            raise ControlError(400, f"Snapshot {name} is snapshotting")
        folder = self._root / name
        if not _is_snapshot(folder) or folder.parent != self._root:
            found = next((each for each in self._folders() if _id(each.name) == name), None)
            if found is None:
                raise ControlError(
                    400, f"Snapshot {name} not found. Make the folder snapshots/{name} in the data folder."
                )
            return found
        return folder

    def begin(self, name: object) -> str:
        """The name of a snapshot that is to be made. Raises ControlError 400, 409."""
        if not isinstance(name, str) or not _NAME.match(name) or "/" in name:
            raise ControlError(400, "name must have letters, digits, dots, hyphens and underscores")
        if name in self._copying or (self._root / name).exists():
            raise ControlError(409, f"Snapshot with name {name} already exists")
        self._copying[name] = timestamp()
        self._failed.pop(name, None)
        return name

    def keep(self, name: str, home: Path) -> None:
        """Copy a stopped sandbox's home, under its name once it is whole. Raises OSError."""
        unfinished = self._root / f"{_UNFINISHED}{name}"
        try:
            self._root.mkdir(mode=0o700, exist_ok=True)
            with suppress(FileNotFoundError):
                remove_tree(unfinished)
            shutil.copytree(home, unfinished, symlinks=True, ignore=_left_out)
            unfinished.rename(self._root / name)
        except OSError as error:
            self._failed[name] = str(error)[:500]
            with suppress(OSError):
                remove_tree(unfinished)
            raise
        finally:
            self._copying.pop(name, None)

    def index(self, name: str = "") -> list[dict[str, Any]]:
        """Those whose names hold `name`."""
        known = {*(folder.name for folder in self._folders()), *self._copying, *self._failed}
        return [self._document(each) for each in sorted(known) if name.lower() in each.lower()]

    def get(self, id_or_name: str) -> dict[str, Any]:
        """Raises ControlError 404."""
        found = next((each for each in self.index() if id_or_name in (each["id"], each["name"])), None)
        if found is None:
            raise ControlError(404, f"Snapshot with ID or name {id_or_name} not found")
        return found

    def delete(self, id_or_name: str) -> None:
        """Sandboxes have copies, so none uses it. Raises ControlError 404, 409 while it is being made."""
        document = self.get(id_or_name)
        if document["state"] == "snapshotting":
            raise ControlError(409, f"Snapshot {document['name']} is being made")
        self._failed.pop(document["name"], None)
        with suppress(FileNotFoundError):
            remove_tree(self._root / document["name"])

    def _folders(self) -> list[Path]:
        return [folder for folder in self._root.iterdir() if _is_snapshot(folder)] if self._root.is_dir() else []

    def _document(self, name: str) -> dict[str, Any]:
        state = "snapshotting" if name in self._copying else "error" if name in self._failed else "active"
        folder = self._root / name
        made = self._copying.get(name) or timestamp(
            datetime.fromtimestamp(folder.stat().st_ctime, UTC) if folder.exists() else datetime.now(UTC)
        )
        return {
            "id": _id(name),
            "organizationId": ORGANIZATION_ID,
            "general": False,
            "name": name,
            "state": state,
            "size": None,
            "entrypoint": None,
            "cpu": 1,
            "gpu": 0,
            "mem": 1,
            "disk": 3,
            "errorReason": self._failed.get(name),
            "createdAt": made,
            "updatedAt": made,
            "lastUsedAt": None,
            "sourceSandboxId": None,
        }


def refuse_beside_snapshot(body: object) -> None:
    """Of a creation request: what a snapshot brings along, in Daytona's words. Raises ControlError 400.

    Without a snapshot sizes are taken here, since there is no image that they could be given with.
    """
    if not isinstance(body, dict) or not body.get("snapshot"):
        return
    if body.get("buildInfo"):
        raise ControlError(400, "Cannot specify a snapshot when using a build info entry")
    if any(body.get(name) for name in _SIZES):
        raise ControlError(400, "Cannot specify Sandbox resources when using a snapshot")


def _left_out(folder: str, names: list[str]) -> set[str]:
    """Temporary files, and what is neither a file nor a folder nor a link: pipes and sockets of ended processes."""
    return {name for name in names if name == _LEFT_OUT or not _is_kept((Path(folder) / name).lstat().st_mode)}


def _is_kept(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)


def _is_snapshot(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink() and not folder.name.startswith(".")


def _id(name: str) -> str:
    return str(uuid5(NAMESPACE_OID, f"snapshot {name}"))
