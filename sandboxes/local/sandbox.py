"""One sandbox: its row, its folders, and the processes that run in it."""

import asyncio
import logging
from pathlib import Path

from sandboxes.local.commands import Ending
from sandboxes.local.disk import remove_tree
from sandboxes.local.errors import NOT_STARTED, ControlError, ProxyError, ToolboxError, no_session, timestamp
from sandboxes.local.isolation import Folders
from sandboxes.local.logs import Pulse
from sandboxes.local.masking import Mask
from sandboxes.local.rows import SandboxRow
from sandboxes.local.sessions import Session
from sandboxes.local.shells import Shell, ShellFactory, end_leftovers, sweep
from sandboxes.local.vault import Vault

_logger = logging.getLogger(__name__)


class Sandbox:
    """One sandbox with its processes. Transitions are made by the registry."""

    def __init__(self, row: SandboxRow, folders: Folders, shells: ShellFactory, vault: Vault) -> None:
        self.row = row
        self.folders = folders
        self.sessions: dict[str, Session] = {}
        self.open_requests = 0
        self.changed = Pulse()
        self._shells = shells
        self._vault = vault
        # All that shells of this server's life were given: an entry can be changed while they have the former value.
        self._secret_values: set[str] = set()
        self._once: set[Shell] = set()
        self._watchers: set[asyncio.Task[None]] = set()
        # As it was last stored; None if the disk did not take it.
        self._activity_saved: str | None = row.last_activity_at

    def save(self) -> None:
        """Store the row. A full disk does not keep a transition from happening: the next tick tries again."""
        try:
            self.row.save(self.folders.row)
        except OSError as error:
            if self._activity_saved is not None:
                _logger.warning("sandbox %s is not stored: %s", self.row.id, error)
            self._activity_saved = None
        else:
            self._activity_saved = self.row.last_activity_at

    def touch(self) -> None:
        """Reset the auto-stop timer. It is stored with the next tick: there can be many requests a second."""
        self.row.last_activity_at = timestamp()

    def save_activity(self) -> None:
        """Store what has changed since the last tick, and what a full disk has not taken."""
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
            env = self.row.env | self._secret_env()
            session = await Session.create(self.folders, session_id, self._shells, env, self.mask)
        except FileExistsError:
            # Another request is making it right now.
            raise ToolboxError(409, "session already exists") from None
        except OSError as error:
            raise ToolboxError(500, f"failed to start the session's shell: {error}") from error
        if self.row.state != "started":
            # A stop began meanwhile and did not see this session.
            await session.end("stopped", 0.0)
            raise ProxyError(400, NOT_STARTED)
        self.sessions[session_id] = session

    @property
    def mask(self) -> Mask:
        """For all output of its processes."""
        return Mask(self._secret_values)

    def _secret_env(self) -> dict[str, str]:
        """Raises ToolboxError 400 for an entry that is gone, or cannot be decrypted."""
        try:
            values = self._vault.values(self.row.secrets)
        except ControlError as error:
            raise ToolboxError(error.status, error.message) from None
        self._secret_values |= set(values.values())
        return values

    async def delete_session(self, session_id: str, grace_s: float) -> None:
        """Returns when every process of the session is gone. Raises ToolboxError 404."""
        session = self.session(session_id)
        del self.sessions[session_id]
        await session.end("deleted", grace_s)

    async def start_once(self, text: int, *, env: dict[str, str], cwd: Path, output: int) -> Shell:
        """A command outside any session; `text` and `output` are descriptors.

        Raises OSError, and ToolboxError 400 if the sandbox is being stopped.
        """
        shell = await self._shells.once(self.folders, self.row.env | env, text, cwd=cwd, output=output)
        if self.row.state != "started":
            await shell.end(0.0)
            raise ProxyError(400, NOT_STARTED)
        self._once.add(shell)
        return shell

    def keep(self, watcher: asyncio.Task[None]) -> None:
        """Hold a reference to the task that watches such a command: the event loop keeps none."""
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
        """After the start of the server: end what the former one left running, and load the sessions.

        Raises OSError.
        """
        self.folders.make()
        await end_leftovers(self.folders)
        remove_tree(self.folders.run)
        self.folders.run.mkdir(mode=0o700)
        for folder in sorted(self.folders.sessions.iterdir()):
            try:
                session = Session.load(self.folders, folder)
            except (OSError, ValueError, LookupError, TypeError) as error:
                # Without bubblewrap a script can write anything there.
                _logger.warning("%s is not a session that can be read: %r", folder, error)
                continue
            if session is not None:
                self.sessions[session.id] = session
