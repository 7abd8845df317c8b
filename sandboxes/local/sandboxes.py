"""Living sandboxes: their transitions, their sessions, and the registry of all of them."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sandboxes.local.commands import Ending
from sandboxes.local.disk import remove_tree
from sandboxes.local.errors import ControlError, ProxyError, ToolboxError, no_session, timestamp
from sandboxes.local.isolation import Folders
from sandboxes.local.logs import Pulse
from sandboxes.local.options import Options
from sandboxes.local.rows import SandboxRow
from sandboxes.local.sessions import Session
from sandboxes.local.shells import Shell, ShellFactory, end_leftovers, sweep

_logger = logging.getLogger(__name__)

# Sessions and commands get a moment after SIGTERM even when the server itself has to be gone soon.
_SHUTDOWN_GRACE_S = 1.0
_NOT_STARTED = "failed to get runner info: no IP address found. Is the Sandbox started?"
# The folder of a destroyed sandbox, until it is empty.
_REMAINS = "destroyed-"


@dataclass(frozen=True)
class StateChange:
    """What the event gateway announces. `what` is "state" or "desired-state", or "created" with no old and new."""

    row: SandboxRow
    what: str
    old: str = ""
    new: str = ""


class Sandbox:
    """One sandbox with its processes. Transitions are made by the registry."""

    def __init__(self, row: SandboxRow, folders: Folders, shells: ShellFactory) -> None:
        self.row = row
        self.folders = folders
        self.sessions: dict[str, Session] = {}
        self.open_requests = 0
        self.changed = Pulse()
        self._shells = shells
        self._once: set[Shell] = set()
        self._watchers: set[asyncio.Task[None]] = set()
        self._activity_saved = row.last_activity_at

    def save(self) -> None:
        self.row.save(self.folders.row)
        self._activity_saved = self.row.last_activity_at

    def touch(self) -> None:
        """Reset the auto-stop timer. The disk learns of it with the next tick: there can be many requests a second."""
        self.row.last_activity_at = timestamp()

    def save_activity(self) -> None:
        if self.open_requests:
            self.touch()
        if self.row.last_activity_at != self._activity_saved:
            self.save()

    def session(self, session_id: str) -> Session:
        """Raises ToolboxError 404."""
        try:
            return self.sessions[session_id]
        except KeyError:
            raise no_session() from None

    async def create_session(self, session_id: str) -> None:
        """Raises ToolboxError: 409 if it exists, 500 if no process can be made, 400 if the sandbox is being stopped."""
        if session_id in self.sessions:
            raise ToolboxError(409, "session already exists")
        try:
            session = await Session.create(self.folders, session_id, self._shells, self.row.env)
        except FileExistsError:
            # Another request is making it right now.
            raise ToolboxError(409, "session already exists") from None
        except OSError as error:
            raise ToolboxError(500, f"failed to start the session's shell: {error}") from error
        if self.row.state != "started":
            # A stop began meanwhile and did not see this session.
            await session.end("stopped", 0.0)
            raise ProxyError(400, _NOT_STARTED)
        self.sessions[session_id] = session

    async def delete_session(self, session_id: str, grace_s: float) -> None:
        """Returns when every process of the session is gone. Raises ToolboxError 404."""
        session = self.session(session_id)
        del self.sessions[session_id]
        await session.end("deleted", grace_s)

    async def start_once(self, command: str, *, env: dict[str, str], cwd: Path, output: int) -> Shell:
        """A command outside any session. Raises OSError, and ToolboxError 400 if the sandbox is being stopped."""
        shell = await self._shells.once(self.folders, self.row.env | env, command, cwd=cwd, output=output)
        if self.row.state != "started":
            await shell.end(0.0)
            raise ProxyError(400, _NOT_STARTED)
        self._once.add(shell)
        return shell

    def keep(self, watcher: asyncio.Task[None]) -> None:
        """Hold a task that watches such a command until it is done: the event loop alone would not."""
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    def ended_once(self, shell: Shell) -> None:
        self._once.discard(shell)

    async def end_processes(self, ending: Ending, grace_s: float) -> None:
        """End everything that runs in it, and with any ending but "shutdown" forget its sessions."""
        sessions = list(self.sessions.values())
        self.sessions.clear()
        await asyncio.gather(
            *(session.end(ending, grace_s) for session in sessions),
            *(shell.end(grace_s) for shell in self._once),
        )
        if not self._shells.isolated:
            # A process can kill the supervisor that keeps it; nothing of it outlives a stop even so.
            await asyncio.to_thread(sweep, self.folders)

    async def recover(self) -> None:
        """After the start of the server: end what the former one left running, and load the sessions."""
        self.folders.make()
        await end_leftovers(self.folders)
        remove_tree(self.folders.run)
        self.folders.run.mkdir(mode=0o700)
        for folder in sorted(self.folders.sessions.iterdir()):
            session = Session.load(self.folders, folder)
            if session is not None:
                self.sessions[session.id] = session


class Registry:
    """All sandboxes. The only writer of their states."""

    def __init__(self, options: Options, shells: ShellFactory) -> None:
        self._options = options
        self._shells = shells
        self._sandboxes: dict[str, Sandbox] = {}
        self._transitions: set[asyncio.Task[None]] = set()
        self.announce: Callable[[StateChange], None] = lambda _: None

    async def load(self) -> None:
        """Bring back what a former server on the same folder had. Sandboxes that were started are started again."""
        for remains in self._options.data_dir.glob(f"{_REMAINS}*"):
            remove_tree(remains)
        for path in sorted(self._options.data_dir.glob("*/sandbox.json")):
            folders = Folders(path.parent)
            sandbox = Sandbox(SandboxRow.load(path), folders, self._shells)
            await sandbox.recover()
            if sandbox.row.desired_state == "destroyed":
                remove_tree(folders.root)
                continue
            if sandbox.row.state != "error":
                sandbox.row.state = sandbox.row.desired_state
            sandbox.save()
            self._sandboxes[sandbox.row.id] = sandbox

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
            raise ProxyError(400, _NOT_STARTED)
        return sandbox

    async def create(self, body: object) -> SandboxRow:
        """Returns the row as first made (creating); it is started a moment later. Raises ControlError 400, 409."""
        row = SandboxRow.create(body, minute_s=self._options.minute_s)
        if self._named(row.name) is not None:
            raise ControlError(409, f"Sandbox with name {row.name} already exists")
        sandbox = Sandbox(row, Folders(self._options.data_dir / row.id), self._shells)
        self._sandboxes[row.id] = sandbox
        sandbox.folders.make()
        sandbox.save()
        self.announce(StateChange(row, "created"))
        self._later(sandbox, self._settle(sandbox, "started"))
        return row

    async def start(self, id_or_name: str) -> Sandbox:
        """Nothing changes if it is started. Raises ControlError 404, 400, 409."""
        sandbox = self.get(id_or_name)
        self._refuse_in_transition(sandbox)
        if sandbox.row.state == "started":
            return sandbox
        if sandbox.row.state != "stopped":
            raise ControlError(400, "Sandbox is not in valid state")
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
        try:
            await asyncio.to_thread(remove_tree, remains)
        except OSError:
            # The sandbox is gone all the same; the next start of the server tries again.
            _logger.exception("%s could not be removed", remains)

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


def age_s(moment: str) -> float:
    """Seconds since a row's timestamp."""
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
