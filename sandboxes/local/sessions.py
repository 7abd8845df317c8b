"""Sessions: one real bash each, in which commands run one after another."""

import asyncio
import json
import logging
from collections import deque
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from sandboxes.local.commands import Command, Ending
from sandboxes.local.disk import read_text, remove_tree, write_atomically
from sandboxes.local.errors import ExecError, ToolboxError, no_command
from sandboxes.local.isolation import Folders
from sandboxes.local.masking import NO_MASK, Mask
from sandboxes.local.pipes import RETRY_S
from sandboxes.local.shells import Shell, ShellFactory

# A name of at most so many bytes is its folder's name; a longer one is hashed.
_LONGEST_FOLDER_NAME = 120

_logger = logging.getLogger(__name__)


class Session:
    """The shell is alive, or dead for good: it ended itself (`exit 5`), or its server was restarted.

    A dead session stays listed with its commands. A command that was running in a shell that ended itself never gets an
    exit code.
    """

    def __init__(self, folders: Folders, session_id: str, mask: Mask = NO_MASK) -> None:
        self.id = session_id
        # Daytona lists sessions in the order of a hash table: clients must not rely on any.
        self.order = sha256(session_id.encode()).digest()
        self._folders = folders
        self._mask = mask
        self._folder = folders.sessions / _folder_name(session_id)
        self._commands: dict[str, Command] = {}
        self._queue: deque[Command] = deque()
        self._running: Command | None = None
        self._shell: Shell | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._conclusion: asyncio.Task[None] | None = None
        self._retry: asyncio.Task[None] | None = None
        self._alive = False
        self._ending = False

    @classmethod
    async def create(
        cls, folders: Folders, session_id: str, shells: ShellFactory, env: dict[str, str], mask: Mask = NO_MASK
    ) -> "Session":
        """A session with a fresh shell. Raises FileExistsError, and OSError if no process can be made.

        `mask` is for the logs of its commands.
        """
        session = cls(folders, session_id, mask)
        session._folder.mkdir(mode=0o700)
        try:
            session._save(alive=True)
            session._shell = await shells.session(folders, env)
        except OSError:
            remove_tree(session._folder)
            raise
        session._watcher = asyncio.create_task(session._watch(session._shell))
        return session

    @classmethod
    def load(cls, folders: Folders, folder: Path) -> "Session | None":
        """A session that a former server left. Its shell is dead now; what was running or queued in it is concluded.

        Returns None for a session that was never made whole. Raises OSError, ValueError if its files cannot be read.
        """
        try:
            stored = json.loads(read_text(folder / "session.json"))
        except FileNotFoundError:
            # The server died between the making of the folder and of the file.
            remove_tree(folder)
            return None
        session = cls(folders, stored["id"])
        loaded = [Command.load(entry) for entry in folder.iterdir() if entry.is_dir()]
        for command in sorted(filter(None, loaded), key=lambda each: each.number):
            session._commands[command.id] = command
            if stored["alive"] and command.exit_code is None:
                command.conclude_after_restart()
        session._save(alive=False)
        return session

    def document(self) -> dict[str, object]:
        """{"sessionId", "commands"}, the commands in no order, as in Daytona: in that of their random ids."""
        commands = sorted(self._commands.values(), key=lambda command: command.id)
        return {"sessionId": self.id, "commands": [command.document() for command in commands]}

    def command(self, command_id: str) -> Command:
        """Raises ToolboxError 404."""
        try:
            return self._commands[command_id]
        except KeyError:
            raise no_command() from None

    async def execute(self, text: str, *, echo: bool, takes_input: bool) -> Command:
        """Queue a command; it runs when those before it have ended and their output is closed.

        Raises ExecError if the shell is dead (the command is listed all the same, as in Daytona), or if the disk takes
        no command.
        """
        number = len(self._commands) + 1
        try:
            command = Command.create(self._folder, text=text, number=number, echo=echo, takes_input=takes_input)
        except OSError as error:
            raise ExecError(500, f"bad request: failed to write command file: {error.strerror or error}") from error
        self._commands[command.id] = command
        if not self._alive:
            raise ExecError(500, "bad request: failed to write command: write |1: broken pipe")
        self._queue.append(command)
        await self._advance()
        return command

    async def finished(self, command: Command) -> int:
        """Wait for a command's exit code: for ever if it ends its shell. Raises ExecError if the session is ended."""
        while command.exit_code is None:
            if command.ending is not None:
                raise ExecError(500, "bad request: session cancelled")
            await command.changed.wait()
        return command.exit_code

    def send_input(self, command: Command, text: str) -> None:
        """Raises ToolboxError: see `Command.send_input`; 410 also if the shell is dead."""
        if not self._alive:
            raise ToolboxError(410, "session process has exited", "SESSION_ENDED")
        command.send_input(text)

    async def end(self, ending: Ending, grace_s: float) -> None:
        """Close the followers' streams at once, then end the shell and everything it started."""
        self._ending = True
        self._alive = False
        for command in self._commands.values():
            command.end(ending)
        if self._shell is not None:
            await self._shell.end(grace_s)
        for task in (self._conclusion, self._retry, self._watcher):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if ending != "shutdown":
            await asyncio.to_thread(remove_tree, self._folder)

    async def _advance(self) -> None:
        """Start the next command, if none runs. A full disk is waited for."""
        if self._running is not None or not self._queue or self._shell is None or not self._alive:
            return
        self._running = command = self._queue.popleft()
        try:
            line = command.start(self._folders.run, self._mask)
        except OSError as error:
            _logger.warning("command %s is not started yet: %s", command.id, error)
            self._queue.appendleft(command)
            self._running = None
            self._retry = asyncio.create_task(self._advance_later())
            return
        self._shell.run(line)

    async def _advance_later(self) -> None:
        await asyncio.sleep(RETRY_S)
        await self._advance()

    async def _watch(self, shell: Shell) -> None:
        async for report in shell.reports():
            match report:
                case ["done", command_id, code] if code.isdecimal():
                    self._command_ended(command_id, int(code))
                case ["shell", code] if code.isdecimal():
                    self._shell_ended()
        await shell.wait()
        self._shell_ended()

    def _command_ended(self, command_id: str, exit_code: int) -> None:
        """Nothing here trusts the report: a script may write lines of its own to the shell's descriptor."""
        if self._running is None or command_id != self._running.id or self._conclusion is not None or self._ending:
            return
        self._conclusion = asyncio.create_task(self._conclude_running(self._running, exit_code % 256))

    async def _conclude_running(self, command: Command, exit_code: int) -> None:
        await command.conclude(exit_code)
        self._running = None
        self._conclusion = None
        await self._advance()

    def _shell_ended(self) -> None:
        # A shell that this server ends has not ended itself: the difference matters to the next server.
        if self._alive and not self._ending:
            try:
                self._save(alive=False)
            except OSError as error:
                _logger.warning("the end of the shell of session %s is not stored: %s", self.id, error)

    def _save(self, *, alive: bool) -> None:
        self._alive = alive
        write_atomically(self._folder / "session.json", json.dumps({"id": self.id, "alive": alive}))


def _folder_name(session_id: str) -> str:
    """A name for any session id: no separators, not hidden, not too long."""
    name = quote(session_id, safe="").replace(".", "%2E")
    return name if len(name) <= _LONGEST_FOLDER_NAME else sha256(session_id.encode()).hexdigest()
