"""Stock of a server beside its sandboxes: vault, volumes, snapshots, sizes, builds; what a sandbox takes of it."""

from pathlib import Path
from typing import Any

from sandboxes.local.builds import Build
from sandboxes.local.isolation import Folders
from sandboxes.local.not_held import Held
from sandboxes.local.rows import SandboxRow, checked_build
from sandboxes.local.shells import ShellFactory
from sandboxes.local.sizes import Sizes, find_memory_groups
from sandboxes.local.snapshots import Snapshots
from sandboxes.local.vault import Vault, checked_mounts
from sandboxes.local.volumes import Volumes


class Stock:
    """`builds` are those of this server's life, by the ids of their sandboxes."""

    def __init__(self, data_dir: Path) -> None:
        self.vault = Vault(data_dir)
        self.volumes = Volumes(data_dir)
        self.snapshots = Snapshots(data_dir)
        self.sizes = Sizes(find_memory_groups())
        self.builds: dict[str, Build] = {}

    def load(self) -> None:
        """What a former server on the same folder had. Raises OSError, ValueError."""
        self.vault.load()
        self.snapshots.clear()

    def references(self, body: object) -> dict[str, Any]:
        """Fields of the row for what a creation request names: entries of the vault, volumes, an image.

        Raises ControlError 400.
        """
        if not isinstance(body, dict):
            return {}
        secrets = checked_mounts(body.get("secrets"))
        self.vault.guard_names(secrets)
        volumes = self.volumes.checked(body.get("volumes"))
        named = {"secrets": secrets, "volumes": volumes, "buildInfo": checked_build(body.get("buildInfo"))}
        return {name: value for name, value in named.items() if value}

    def folders(self, root: Path, row: SandboxRow) -> Folders:
        """Raises OSError where its memory cannot be held any more."""
        network = row.fields.get("networkBlockAll") is not True
        bounds = self.sizes.hold(row.id, row.held)
        return Folders(root, network=network, mounts=self.volumes.mounts(row.volumes), bounds=bounds)

    def held(self, shells: ShellFactory) -> Held:
        """What a sandbox can be held to on this machine."""
        return Held(
            closes_network=shells.closes_network,
            mounts=shells.isolated,
            cpus=len(self.sizes.cpus),
            memory=self.sizes.memory is not None,
        )

    def begin_build(self, row: SandboxRow) -> Build | None:
        """None for a sandbox without an image. Its state says that it waits for it."""
        info = row.fields.get("buildInfo")
        if info is None:
            return None
        row.state = "pending_build"
        self.builds[row.id] = Build(info["dockerfileContent"])
        return self.builds[row.id]

    def release(self, sandbox_id: str) -> None:
        """The sandbox is gone."""
        self.sizes.release(sandbox_id)
        self.builds.pop(sandbox_id, None)
