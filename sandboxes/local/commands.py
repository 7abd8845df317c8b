"""One command of a session: its text, its log, its exit code."""

import asyncio
import json
import logging
import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Literal
from uuid import uuid4

from sandboxes.local.disk import read_text, write_atomically
from sandboxes.local.errors import ToolboxError
from sandboxes.local.logs import LogWriter, Pulse, append_restart_note
from sandboxes.local.masking import NO_MASK, Mask
from sandboxes.local.pipes import RETRY_S, Pipes
from sandboxes.local.supervisor import STATUS_FD

# What the exit code of a command becomes that was running when the server died: 128 + SIGKILL.
KILLED_EXIT_CODE = 137

_logger = logging.getLogger(__name__)

# Why a command's log ends before the command does.
Ending = Literal["deleted", "stopped", "shutdown"]


class Command:
    """`exit_code` is None while it is queued or running, and for ever if it ended its shell.

    A command runs until it has ended and its output is closed: a background process that inherited stdout or stderr
    keeps it running, as it does in Daytona.
    """

    def __init__(self, folder: Path, *, text: str, number: int, echo: bool = True, takes_input: bool = True) -> None:
        self.id = folder.name
        self.text = text
        self.number = number
        self.exit_code: int | None = None
        self.ending: Ending | None = None
        self.changed = Pulse()
        self._folder = folder
        self._echo = echo
        self._takes_input = takes_input
        self._pipes: Pipes | None = None

    @classmethod
    def create(cls, session_folder: Path, *, text: str, number: int, echo: bool, takes_input: bool) -> "Command":
        """A queued command with an empty log. Raises OSError if the disk takes no more."""
        folder = session_folder / str(uuid4())
        command = cls(folder, text=text, number=number, echo=echo, takes_input=takes_input)
        command._folder.mkdir(mode=0o700)
        write_atomically(command._folder / "command.json", json.dumps({"text": text, "number": number}))
        command.log.touch(mode=0o600)
        return command

    @classmethod
    def load(cls, folder: Path) -> "Command | None":
        """A command as stored on disk. None if the server died while it was being made.

        Raises OSError, ValueError if its files cannot be read.
        """
        try:
            stored = json.loads(read_text(folder / "command.json"))
        except FileNotFoundError:
            return None
        command = cls(folder, text=stored["text"], number=stored["number"])
        with suppress(FileNotFoundError):
            command.exit_code = int(read_text(folder / "exit_code"))
        return command

    @property
    def log(self) -> Path:
        return self._folder / "output.log"

    def is_cut_off(self) -> bool:
        """True if its session or its server is being ended: its log may be gone any moment."""
        return self.ending is not None

    def log_size(self) -> int:
        """Bytes in the log; 0 when it has been deleted."""
        try:
            return self.log.stat().st_size
        except FileNotFoundError:
            return 0

    def document(self) -> dict[str, object]:
        """{"id", "command", "exitCode"}; without "exitCode" while there is none."""
        document: dict[str, object] = {"id": self.id, "command": self.text}
        if self.exit_code is not None:
            document["exitCode"] = self.exit_code
        return document

    def start(self, run_folder: Path, mask: Mask = NO_MASK) -> str:
        """Open the pipes; the answer is the line that makes the session's shell run this command. Raises OSError.

        The text is a file that the shell reads, not part of the line: so no text can break the line, and `cd`, `export`
        and `exit` act on the session's own shell, as they do in Daytona.
        """
        pipes = Pipes(run_folder, self.id, LogWriter(self.log), self.changed.send, mask)
        try:
            pipes.put("command", f"{self.text}\n".encode("utf-8", errors="replace"))
        except OSError:
            pipes.abandon()
            raise
        self._pipes = pipes
        folder = run_folder / self.id
        command, stdin, stdout, stderr = (shlex.quote(str(folder / name)) for name in ("command", "in", "out", "err"))
        if not self._takes_input:
            stdin = os.devnull
        return (
            f"{{ . {command}; }} <{stdin} >{stdout} 2>{stderr} {STATUS_FD}>&-; "
            f'builtin printf "done %s %s\\n" {self.id} "$?" >&{STATUS_FD}'
        )

    async def conclude(self, exit_code: int) -> None:
        """The shell reports the end. Returns when the output is closed and the exit code stored.

        The exit code can be seen only after that: its output is in the log by then. A full disk is waited for.
        """
        if self._pipes is not None:
            self._pipes.command_ended()
            await self._pipes.closed
        while (failure := self._store(exit_code)) is not None:
            _logger.warning("the exit code of command %s is not stored yet: %s", self.id, failure)
            await asyncio.sleep(RETRY_S)

    def conclude_after_restart(self) -> None:
        """The server died while this command was queued or running. What the disk does not take is only logged."""
        try:
            append_restart_note(self.log)
        except OSError as error:
            _logger.warning("the restart is not noted in the log of command %s: %s", self.id, error)
        failure = self._store(KILLED_EXIT_CODE)
        if failure is not None:
            _logger.warning("the exit code of command %s is not stored: %s", self.id, failure)
            self.exit_code = KILLED_EXIT_CODE

    def end(self, ending: Ending) -> None:
        """No more output will come: wake the followers, which see the reason in `ending`."""
        if self._pipes is not None:
            self._pipes.abandon()
        self.ending = ending
        self.changed.send()

    def send_input(self, text: str) -> None:
        """Write to standard input, with a newline for commands like `read`; and to the log, unless that was suppressed.

        Raises ToolboxError: 410 if it has finished, 500 if it is not running yet or does not read.
        """
        if self.exit_code is not None:
            raise ToolboxError(
                410, f"command has already completed with exit code {self.exit_code}", "COMMAND_ALREADY_COMPLETED"
            )
        if self._pipes is None or self._pipes.over:
            raise ToolboxError(500, "failed to open input pipe: the command is not running")
        data = (text if text.endswith("\n") else f"{text}\n").encode("utf-8", errors="replace")
        try:
            taken = self._pipes.write(data)
        except BlockingIOError:
            taken = 0
        if taken < len(data):
            raise ToolboxError(500, f"failed to write to input pipe: the command took {taken} of {len(data)} bytes")
        if self._echo:
            self._pipes.echo(data)

    def _store(self, exit_code: int) -> OSError | None:
        try:
            write_atomically(self._folder / "exit_code", f"{exit_code}\n")
        except OSError as error:
            return error
        self.exit_code = exit_code
        self.changed.send()
        return None
