"""Named pipes of a running command: stdin, stdout and stderr, between the sandbox's shell and the server.

Only the server writes to the folder that holds them: in bubblewrap it is bound read-only, which does not keep a process
from opening a pipe. All of it is reached through the folder's descriptor all the same, without following links.
"""

import asyncio
import fcntl
import os
import stat
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from sandboxes.local.disk import NotRegularFileError, remove_tree_at
from sandboxes.local.logs import STDERR_MARKER, STDOUT_MARKER, LogWriter, Marker
from sandboxes.local.masking import NO_MASK, Mask

_PIPE_BYTES = 1 << 20
_READ_BYTES = 262_144
# How often a full disk is tried again, in seconds.
RETRY_S = 0.25
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PIPE = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class Pipes:
    """Output is appended to the log as it comes; `on_output` is called then.

    `closed` is done when the command has ended, no process holds its stdout or stderr open any more, and the log has
    all of it. While the disk takes no output the pipes are not read: the command waits, and loses nothing.
    """

    def __init__(
        self, run_folder: Path, name: str, log: LogWriter, on_output: Callable[[], None], mask: Mask = NO_MASK
    ) -> None:
        """Make the folder `name` in `run_folder` with the three pipes. Raises OSError; `log` is closed then.

        What comes through them is masked before the log has it.
        """
        self._mask = mask
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._log = log
        self._on_output = on_output
        self._readers: dict[int, Marker] = {}
        self._retry: asyncio.TimerHandle | None = None
        self._ended = False
        self._stdin: int | None = None
        self._name = name
        # Descriptors that are closed at the end, the last one first.
        self._opened = ExitStack()
        self._opened.callback(log.close)
        try:
            self._make(run_folder)
        except OSError:
            self.abandon()
            raise

    def _make(self, run_folder: Path) -> None:
        run = self._kept(os.open(run_folder, _FOLDER))
        os.mkdir(self._name, 0o700, dir_fd=run)
        self._opened.callback(_remove, run, self._name)
        self._folder = self._kept(os.open(self._name, _FOLDER, dir_fd=run))
        # Open for writing too, here: so the command does not wait for its input to be opened, nor see its end.
        self._stdin = self._open_pipe("in", os.O_RDWR)
        for pipe, marker in (("out", STDOUT_MARKER), ("err", STDERR_MARKER)):
            descriptor = self._open_pipe(pipe, os.O_RDONLY)
            self._readers[descriptor] = Marker(marker, self._mask)
            self._loop.add_reader(descriptor, self._read, descriptor)

    def _kept(self, descriptor: int) -> int:
        self._opened.callback(os.close, descriptor)
        return descriptor

    @property
    def over(self) -> bool:
        """True if the command takes no more input: it has ended, though its output may still be open."""
        return self._ended

    def put(self, name: str, data: bytes) -> None:
        """A file beside the pipes, for the shell to read. Raises OSError, also if the name is taken."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, 0o600, dir_fd=self._folder), "wb") as file:
            file.write(data)

    def write(self, data: bytes) -> int:
        """Bytes taken by the command's standard input, which holds as much as a pipe does. Raises BlockingIOError."""
        return 0 if self._stdin is None else os.write(self._stdin, data)

    def echo(self, data: bytes) -> None:
        """Append input to the log, as Daytona does."""
        self._append(STDOUT_MARKER + self._mask.apply(data))

    def command_ended(self) -> None:
        """The shell has reported the command's end; what a background process still prints is read on."""
        self._end_input()
        for descriptor in list(self._readers):
            # As much as a pipe holds and no more: a background process may write as fast as this loop reads.
            for _ in range(_PIPE_BYTES // _READ_BYTES + 1):
                if descriptor not in self._readers or self._log.blocked or not self._read(descriptor):
                    break
        self._close_if_over()

    def abandon(self) -> None:
        """Close everything, without another byte for the log."""
        if self.closed.done():
            return
        for descriptor in list(self._readers):
            self._drop(descriptor)
        self._end_input()
        if self._retry is not None:
            self._retry.cancel()
        self._close()

    def _end_input(self) -> None:
        self._ended = True
        if self._stdin is not None:
            os.close(self._stdin)
            self._stdin = None

    def _open_pipe(self, name: str, flags: int) -> int:
        os.mkfifo(name, 0o600, dir_fd=self._folder)
        descriptor = os.open(name, flags | _PIPE, dir_fd=self._folder)
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise NotRegularFileError(f"{name} is not the pipe that was made")
        # A small pipe is slower, no worse: an unprivileged user may have used up what the kernel grants.
        if flags == os.O_RDONLY:
            with suppress(OSError):
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return descriptor

    def _read(self, descriptor: int) -> bool:
        """Take what is there, up to a limit that keeps the event loop free for others. False: nothing was there."""
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return False
        marker = self._readers[descriptor]
        lines = marker.feed(data) if data else marker.finish()
        if not data:
            self._drop(descriptor)
        if lines:
            self._append(lines)
        if not data:
            self._close_if_over()
        return bool(data)

    def _append(self, lines: bytes) -> None:
        self._log.append(lines)
        self._on_output()
        if self._log.blocked and self._retry is None:
            for descriptor in self._readers:
                self._loop.remove_reader(descriptor)
            self._retry = self._loop.call_later(RETRY_S, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        failure = self._log.flush()
        self._on_output()
        if failure is not None:
            self._retry = self._loop.call_later(RETRY_S, self._try_again)
            return
        for descriptor in self._readers:
            self._loop.add_reader(descriptor, self._read, descriptor)
        self._close_if_over()

    def _drop(self, descriptor: int) -> None:
        self._loop.remove_reader(descriptor)
        os.close(descriptor)
        del self._readers[descriptor]

    def _close_if_over(self) -> None:
        if self._ended and not self._readers and not self._log.blocked and not self.closed.done():
            self._close()

    def _close(self) -> None:
        self._opened.close()
        self.closed.set_result(None)


def _remove(folder: int, name: str) -> None:
    # What a process without bubblewrap does to this folder is its own affair.
    with suppress(OSError):
        remove_tree_at(folder, name)
