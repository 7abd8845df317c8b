"""Registry of all sandboxes: creation, state transitions, destruction."""

import asyncio
import logging
import shutil
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sandboxes.local.builds import Build
from sandboxes.local.capacity import refuse_beyond
from sandboxes.local.disk import remove_tree
from sandboxes.local.errors import NOT_STARTED, ControlError, ProxyError, timestamp
from sandboxes.local.not_held import refuse_what_is_not_held
from sandboxes.local.options import Options
from sandboxes.local.rows import SandboxRow
from sandboxes.local.sandbox import Sandbox
from sandboxes.local.shells import ShellFactory
from sandboxes.local.sizes import GIB, disk_bytes
from sandboxes.local.snapshots import refuse_beside_snapshot
from sandboxes.local.stock import Stock

_logger = logging.getLogger(__name__)

# Sessions and commands get a moment after SIGTERM even when the server itself has to be gone soon.
_SHUTDOWN_GRACE_S = 1.0
DISK_LIMIT = "disk_limit"
"""Begins the reason of a sandbox whose files took more than its disk."""
# The folder of a destroyed sandbox, until it is empty.
_REMAINS = "destroyed-"


@dataclass(frozen=True)
class StateChange:
    """What the event gateway announces. `what` is "state" or "desired-state", or "created" with no old and new."""

    row: SandboxRow
    what: str
    old: str = ""
    new: str = ""


class Registry:
    """All sandboxes. The only writer of their states."""

    def __init__(self, options: Options, shells: ShellFactory) -> None:
        self._options = options
        self._shells = shells
        self._sandboxes: dict[str, Sandbox] = {}
        self._transitions: set[asyncio.Task[None]] = set()
        self.stock = Stock(options.data_dir)
        self.announce: Callable[[StateChange], None] = lambda _: None

    async def load(self) -> None:
        """Bring back what a former server on the same folder had. Sandboxes that were started are started again."""
        self.stock.load()
        for remains in self._options.data_dir.glob(f"{_REMAINS}*"):
            self._remove(remains)
        for path in sorted(self._options.data_dir.glob("*/sandbox.json")):
            try:
                await self._load(path)
            except (OSError, ValueError, TypeError):
                # One folder that cannot be read keeps no other sandbox from being served.
                _logger.exception("%s is not a sandbox that can be read; it is left as it is", path.parent)

    async def _load(self, path: Path) -> None:
        row = SandboxRow.load(path)
        folders = self.stock.folders(path.parent, row)
        sandbox = Sandbox(row, folders, self._shells, self.stock.vault)
        await sandbox.recover()
        if sandbox.row.desired_state == "destroyed" or _is_half_made(row):
            self._remove(folders.root)
            return
        if not self._options.sizes_not_held and "memory" in row.held and self.stock.sizes.memory is None:
            row.state, row.error_reason = "error", "the memory of this sandbox cannot be held any more"
        if sandbox.row.state not in {"error", "build_failed"}:
            sandbox.row.state = sandbox.row.desired_state
        sandbox.save()
        self._sandboxes[sandbox.row.id] = sandbox

    def _remove(self, folder: Path) -> None:
        """What cannot be removed now is tried again at the next start."""
        try:
            remove_tree(folder)
        except FileNotFoundError:
            return
        except OSError:
            _logger.exception("%s could not be removed", folder)

    def rows(self) -> list[SandboxRow]:
        return [sandbox.row for sandbox in self._sandboxes.values()]

    def sandboxes(self) -> list[Sandbox]:
        return list(self._sandboxes.values())

    def get(self, id_or_name: str) -> Sandbox:
        """Raises ControlError 404."""
        found = self._sandboxes.get(id_or_name) or self._named(id_or_name)
        if found is None:
            raise ControlError(404, f"Sandbox with ID or name {id_or_name} not found")
        return found

    def for_toolbox(self, sandbox_id: str) -> Sandbox:
        """Raises ProxyError: 401 if there is none, 400 if it is not started."""
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None:
            raise ProxyError(401, "authentication failed: sandbox not found or access denied")
        if sandbox.row.state != "started":
            raise ProxyError(400, NOT_STARTED)
        return sandbox

    async def create(self, body: object) -> SandboxRow:
        """Returns the row as first made (creating); it is started a moment later.

        Raises ControlError 400, also for what cannot be held; 409 if the name is taken; 403 (or 400, as configured)
        if the limits are reached; 500 if the disk takes no sandbox.
        """
        refuse_beside_snapshot(body)
        refuse_what_is_not_held(self._options, body, self.stock.held(self._shells))
        row = SandboxRow.create(body, minute_s=self._options.minute_s)
        row.fields |= self.stock.references(body)
        snapshot = self.stock.snapshots.folder(row.fields.get("snapshot"))
        if self._named(row.name) is not None:
            raise ControlError(409, f"Sandbox with name {row.name} already exists")
        refuse_beyond(self._options.limits, row, self.rows())
        try:
            sandbox = Sandbox(
                row, self.stock.folders(self._options.data_dir / row.id, row), self._shells, self.stock.vault
            )
        except OSError as error:
            raise ControlError(500, f"The sandbox could not be held: {error.strerror or error}") from error
        try:
            sandbox.folders.make()
            row.save(sandbox.folders.row)
        except OSError as error:
            self._remove(sandbox.folders.root)
            raise ControlError(500, f"The sandbox could not be stored: {error.strerror or error}") from error
        self._sandboxes[row.id] = sandbox
        self.announce(StateChange(row, "created"))
        build = self.stock.begin_build(row)
        self._later(sandbox, self._build(sandbox, build) if build is not None else self._make(sandbox, snapshot))
        return row

    async def _build(self, sandbox: Sandbox, build: Build) -> None:
        await asyncio.sleep(self._options.transition_s)
        self._set_state(sandbox, "building_snapshot")
        await build.play(self._options.transition_s)
        if build.failed:
            sandbox.row.error_reason = f"Build failed: {build.failed}"
            self._set_state(sandbox, "build_failed")
            return
        self._set_state(sandbox, "creating")
        await self._settle(sandbox, "started")

    def snapshot(self, id_or_name: str, name: object) -> Sandbox:
        """Keep a stopped sandbox's home as a snapshot; returns at once (snapshotting). Raises ControlError."""
        sandbox = self.get(id_or_name)
        self._refuse_in_transition(sandbox)
        if sandbox.row.state != "stopped":
            raise ControlError(400, "Sandbox must be stopped before it is kept as a snapshot")
        snapshot = self.stock.snapshots.begin(name)
        self._set_state(sandbox, "snapshotting")
        self._later(sandbox, self._keep(sandbox, snapshot))
        return sandbox

    async def start(self, id_or_name: str) -> Sandbox:
        """Nothing changes if it is started. Raises ControlError 404, 400, 409; beyond the limits as `create` does."""
        sandbox = self.get(id_or_name)
        self._refuse_in_transition(sandbox)
        if sandbox.row.state == "started":
            return sandbox
        if sandbox.row.state != "stopped":
            raise ControlError(400, "Sandbox is not in valid state")
        refuse_beyond(self._options.limits, sandbox.row, [row for row in self.rows() if row is not sandbox.row])
        self._begin(sandbox, "starting", "started")
        self._later(sandbox, self._settle(sandbox, "started"))
        return sandbox

    async def stop(self, id_or_name: str, *, force: bool) -> Sandbox:
        """Returns at once (stopping); every process is ended then. Raises ControlError 404, 400, 409."""
        sandbox = self.get(id_or_name)
        self._refuse_in_transition(sandbox)
        if sandbox.row.state != "started":
            raise ControlError(400, "Sandbox is not in a stoppable state")
        self._begin(sandbox, "stopping", "stopped")
        self._later(sandbox, self._stop(sandbox, 0.0 if force else self._options.kill_grace_s))
        return sandbox

    async def destroy(self, id_or_name: str) -> Sandbox:
        """Returns at once (destroying). Raises ControlError 404, 409."""
        sandbox = self.get(id_or_name)
        self._refuse_in_transition(sandbox)
        self._begin(sandbox, "destroying", "destroyed")
        self._later(sandbox, self._destroy(sandbox))
        return sandbox

    def change(self, id_or_name: str, **fields: Any) -> Sandbox:
        """Set fields of the row, under Daytona's names. Raises ControlError 404."""
        sandbox = self.get(id_or_name)
        sandbox.row.fields.update(fields)
        self.updated(sandbox)
        return sandbox

    def updated(self, sandbox: Sandbox) -> None:
        sandbox.row.updated_at = timestamp()
        sandbox.save()

    async def count_disk(self, sandbox: Sandbox) -> None:
        """End what runs in a sandbox whose files take more than its disk: its state is "error" then. Raises OSError."""
        gib = sandbox.row.held.get("disk")
        if gib is None or sandbox.row.state != "started":
            return
        found = await asyncio.to_thread(disk_bytes, sandbox.folders.home, most=gib * GIB)
        if found > gib * GIB and sandbox.row.state == "started":
            sandbox.row.error_reason = f"{DISK_LIMIT}: the files take more than {gib} GiB"
            self._begin(sandbox, "stopping", "stopped")
            self._later(sandbox, self._end_full(sandbox))

    async def _end_full(self, sandbox: Sandbox) -> None:
        await sandbox.end_processes("stopped", 0.0)
        self._set_state(sandbox, "error")

    async def settled(self, sandbox: Sandbox, timeout: float) -> None:
        """Wait until its transition is over, but no longer than `timeout` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while sandbox.row.in_transition:
                    await sandbox.changed.wait()

    async def close(self) -> None:
        """The server ends: end every process, leave every row as it is."""
        for transition in list(self._transitions):
            transition.cancel()
        await asyncio.gather(*self._transitions, return_exceptions=True)
        grace_s = min(_SHUTDOWN_GRACE_S, self._options.kill_grace_s)
        await asyncio.gather(*(each.end_processes("shutdown", grace_s) for each in self.sandboxes()))
        for sandbox in self.sandboxes():
            sandbox.save_activity()

    def _named(self, name: str) -> Sandbox | None:
        return next((each for each in self._sandboxes.values() if each.row.name == name), None)

    def _refuse_in_transition(self, sandbox: Sandbox) -> None:
        if sandbox.row.in_transition:
            raise ControlError(409, "Sandbox state change in progress")

    def _begin(self, sandbox: Sandbox, state: str, desired: str) -> None:
        old = sandbox.row.desired_state
        sandbox.row.desired_state = desired
        self._set_state(sandbox, state)
        if old != desired:
            self.announce(StateChange(sandbox.row, "desired-state", old, desired))

    def _set_state(self, sandbox: Sandbox, state: str) -> None:
        old = sandbox.row.state
        sandbox.row.state = state
        sandbox.row.stopped_at = timestamp() if state == "stopped" else None
        sandbox.touch()
        if state != "destroyed":
            self.updated(sandbox)
        sandbox.changed.send()
        self.announce(StateChange(sandbox.row, "state", old, state))

    async def _make(self, sandbox: Sandbox, snapshot: Path | None) -> None:
        if snapshot is not None:
            await asyncio.to_thread(_copy, snapshot, sandbox.folders.home)
        await self._settle(sandbox, "started")

    async def _keep(self, sandbox: Sandbox, snapshot: str) -> None:
        """A copy that fails is the snapshot's error, and leaves the sandbox stopped."""
        try:
            await asyncio.to_thread(self.stock.snapshots.keep, snapshot, sandbox.folders.home)
        except OSError:
            _logger.exception("sandbox %s could not be kept as a snapshot", sandbox.row.id)
        await self._settle(sandbox, "stopped")

    async def _settle(self, sandbox: Sandbox, state: str) -> None:
        await asyncio.sleep(self._options.transition_s)
        self._set_state(sandbox, state)

    async def _stop(self, sandbox: Sandbox, grace_s: float) -> None:
        await asyncio.gather(sandbox.end_processes("stopped", grace_s), asyncio.sleep(self._options.transition_s))
        self._set_state(sandbox, "stopped")
        if sandbox.row.fields["autoDeleteInterval"] == 0:
            await self.destroy(sandbox.row.id)

    async def _destroy(self, sandbox: Sandbox) -> None:
        await asyncio.gather(
            sandbox.end_processes("stopped", self._options.kill_grace_s), asyncio.sleep(self._options.transition_s)
        )
        # Renamed first: if the server dies in the middle, what is left is no sandbox.
        remains = self._options.data_dir / f"{_REMAINS}{sandbox.row.id}"
        sandbox.folders.root.rename(remains)
        del self._sandboxes[sandbox.row.id]
        self._set_state(sandbox, "destroyed")
        await asyncio.to_thread(self._remove, remains)
        self.stock.release(sandbox.row.id)

    def _later(self, sandbox: Sandbox, work: Coroutine[Any, Any, None]) -> None:
        """Transitions go on when the client that asked for them has gone. One that fails leaves the state "error"."""

        async def guarded() -> None:
            try:
                await work
            except OSError as error:
                _logger.exception("a transition of sandbox %s failed", sandbox.row.id)
                sandbox.row.error_reason = str(error)
                self._set_state(sandbox, "error")

        task = asyncio.create_task(guarded())
        self._transitions.add(task)
        task.add_done_callback(self._transitions.discard)


def _is_half_made(row: SandboxRow) -> bool:
    """Its server ended while the snapshot was copied, or the image built: asking for it again makes a whole one."""
    is_building = row.state in {"pending_build", "building_snapshot"}
    return is_building or (row.state == "creating" and bool(row.fields.get("snapshot")))


def _copy(snapshot: Path, home: Path) -> None:
    """Links stay links, and the home its owner's alone and writable. Raises OSError (`shutil.Error` is one)."""
    shutil.copytree(snapshot, home, symlinks=True, dirs_exist_ok=True)
    home.chmod(0o700)


def age_s(moment: str) -> float:
    """Seconds since a row's timestamp."""
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
