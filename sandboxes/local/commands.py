"""One command of a session: its text, its log, its exit code, and the named pipes it runs between."""

import asyncio
import fcntl
import json
import os
import shlex
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal
from uuid import uuid4

from sandboxes.local.disk import write_atomically
from sandboxes.local.errors import ToolboxError
from sandboxes.local.logs import STDERR_MARKER, STDOUT_MARKER, LogWriter, Marker, Pulse, append_restart_note
from sandboxes.local.supervisor import STATUS_FD

# What the exit code of a command becomes that was running when the server died: 128 + SIGKILL.
KILLED_EXIT_CODE = 137
_PIPE_BYTES = 1 << 20
_READ_BYTES = 262_144

# Why a command's log ends before the command does.
Ending = Literal["deleted", "stopped", "shutdown"]


class Pipes:
    """stdin, stdout and stderr of a running command. Output goes to the log as it comes; `on_output` is called then.

    A background process may hold stdout or stderr open after the command's end: it is read until it lets go.
    """

    def __init__(self, folder: Path, log: LogWriter, on_output: Callable[[], None]) -> None:
        folder.mkdir(mode=0o700)
        self._folder = folder
        self._log = log
        self._on_output = on_output
        self._readers: dict[int, Marker] = {}
        self._done = False
        for name in ("in", "out", "err"):
            os.mkfifo(folder / name, 0o600)
        # Open for writing too, here: so the command does not wait for its input to be opened, nor see its end.
        self._stdin = os.open(folder / "in", os.O_RDWR | os.O_NONBLOCK)
        for name, marker in (("out", STDOUT_MARKER), ("err", STDERR_MARKER)):
            self._listen(folder / name, marker)

    def write(self, data: bytes) -> int:
        """Bytes taken by the command's standard input, which holds as much as a pipe does. Raises BlockingIOError."""
        return os.write(self._stdin, data)

    def echo(self, data: bytes) -> None:
        self._log.append(STDOUT_MARKER + data)
        self._on_output()

    def finish(self) -> None:
        """The command has ended: take what is in the pipes, and let go of those that nobody writes to."""
        self._done = True
        os.close(self._stdin)
        for descriptor in list(self._readers):
            # As much as a pipe holds and no more: a background process may write as fast as this loop reads.
            for _ in range(_PIPE_BYTES // _READ_BYTES + 1):
                if descriptor not in self._readers or not self._read(descriptor):
                    break
        self._close_if_over()

    def abandon(self) -> None:
        """Let go of everything, without another byte for the log."""
        for descriptor in list(self._readers):
            self._drop(descriptor)
        if not self._done:
            self._done = True
            os.close(self._stdin)
        self._close_if_over()

    def _listen(self, path: Path, marker: bytes) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        # A small pipe is slower, no worse: an unprivileged user may have used up what the kernel grants.
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._readers[descriptor] = Marker(marker)
        asyncio.get_running_loop().add_reader(descriptor, self._read, descriptor)

    def _read(self, descriptor: int) -> bool:
        """Take what is there, up to a limit that keeps the event loop free for others. False: nothing was there."""
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return False
        marker = self._readers[descriptor]
        lines = marker.feed(data) if data else marker.finish()
        if lines:
            self._log.append(lines)
            self._on_output()
        if not data:
            self._drop(descriptor)
            self._close_if_over()
        return bool(data)

    def _drop(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
        del self._readers[descriptor]

    def _close_if_over(self) -> None:
        if self._done and not self._readers and self._folder.exists():
            self._log.close()
            shutil.rmtree(self._folder)


class Command:
    """`exit_code` is None while it is queued or running, and for ever if it ended its shell."""

    def __init__(self, folder: Path, *, text: str, number: int, echo: bool = True) -> None:
        self.id = folder.name
        self.text = text
        self.number = number
        self.exit_code: int | None = None
        self.ending: Ending | None = None
        self.changed = Pulse()
        self._folder = folder
        self._echo = echo
        self._pipes: Pipes | None = None

    @classmethod
    def create(cls, session_folder: Path, *, text: str, number: int, echo: bool) -> "Command":
        """A queued command with an empty log. Raises OSError if the disk takes no more."""
        command = cls(session_folder / str(uuid4()), text=text, number=number, echo=echo)
        command._folder.mkdir(mode=0o700)
        write_atomically(command._folder / "command.json", json.dumps({"text": text, "number": number}))
        command.log.touch(mode=0o600)
        return command

    @classmethod
    def load(cls, folder: Path) -> "Command | None":
        """A command as it stands on disk. None if the server died while it was being made."""
        try:
            stored = json.loads((folder / "command.json").read_text())
        except FileNotFoundError:
            return None
        command = cls(folder, text=stored["text"], number=stored["number"])
        with suppress(FileNotFoundError):
            command.exit_code = int((folder / "exit_code").read_text())
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

    def start(self, run_folder: Path) -> str:
        """Open the pipes; the answer is the line that makes the session's shell run this command.

        The text is a file that the shell reads, not part of the line: so no text can break the line, and `cd`, `export`
        and `exit` act on the session's own shell, as they do in Daytona.
        """
        folder = run_folder / self.id
        self._pipes = Pipes(folder, LogWriter(self.log), self.changed.send)
        (folder / "command").write_text(f"{self.text}\n", encoding="utf-8", errors="replace")
        command, stdin, stdout, stderr = (shlex.quote(str(folder / name)) for name in ("command", "in", "out", "err"))
        return (
            f"{{ . {command}; }} <{stdin} >{stdout} 2>{stderr} {STATUS_FD}>&-; "
            f'builtin printf "done %s %s\\n" {self.id} "$?" >&{STATUS_FD}'
        )

    def finish(self, exit_code: int) -> None:
        """The shell reports the end. Its output is in the log before the exit code can be seen."""
        if self._pipes is not None:
            self._pipes.finish()
        self._conclude(exit_code)

    def conclude_after_restart(self) -> None:
        """The server died while this command was queued or running."""
        append_restart_note(self.log)
        self._conclude(KILLED_EXIT_CODE)

    def end(self, ending: Ending) -> None:
        """No more output will come: wake the followers, who see why."""
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
        if self._pipes is None:
            raise ToolboxError(500, "failed to open input pipe: the command is not running yet")
        data = (text if text.endswith("\n") else f"{text}\n").encode("utf-8", errors="replace")
        try:
            taken = self._pipes.write(data)
        except BlockingIOError:
            taken = 0
        if taken < len(data):
            raise ToolboxError(500, f"failed to write to input pipe: the command took {taken} of {len(data)} bytes")
        if self._echo:
            self._pipes.echo(data)

    def _conclude(self, exit_code: int) -> None:
        write_atomically(self._folder / "exit_code", f"{exit_code}\n")
        self.exit_code = exit_code
        self.changed.send()
