"""Fork server: starts supervisors by forking a process that has loaded their code.

A fresh Python would take 50 ms of CPU time, and some MiB, for each session and each command; a fork takes 2 ms.
"""

import asyncio
import os
import socket
import subprocess
import sys
from asyncio import StreamReader, StreamReaderProtocol
from collections.abc import Coroutine, Sequence
from contextlib import suppress

from sandboxes.local import supervisor

_LONGEST_ANSWER_BYTES = 32


class Supervised:
    """A supervisor that was forked: its pid, what it is told and what it says, and its end."""

    def __init__(self, pid: int, told: asyncio.WriteTransport, said: StreamReader) -> None:
        self.pid = pid
        self.stdout = said
        self._told = told
        self._ended = asyncio.get_running_loop().create_future()
        try:
            # It is a child of the fork server, which reaps it.
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            self._ended.set_result(None)
        else:
            asyncio.get_running_loop().add_reader(descriptor, self._end, descriptor)

    def tell(self, message: bytes) -> None:
        """Nothing happens if it has ended."""
        if not self._told.is_closing():
            self._told.write(message)

    async def wait(self) -> None:
        """Until it has ended."""
        await asyncio.shield(self._ended)

    def _end(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
        self._told.close()
        if not self._ended.done():
            self._ended.set_result(None)


class ForkServer:
    """Belongs to one event loop. A process that was killed is replaced when the next supervisor is wanted."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    async def fork(self, files: Sequence[int]) -> Supervised:
        """A supervisor that waits to be told what to start. `files` become its shell's. Raises OSError."""
        ours, theirs = _pipes()
        try:
            async with self._turn:
                pid = await _to_the_end(self._ask([*theirs, *files]))
        except BaseException:
            _close(ours)
            raise
        finally:
            _close(theirs)
        told, said = ours
        loop = asyncio.get_running_loop()
        reader = StreamReader()
        writing, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(told, "wb", 0))
        await loop.connect_read_pipe(lambda: StreamReaderProtocol(reader), os.fdopen(said, "rb", 0))
        return Supervised(pid, writing, reader)

    async def _ask(self, descriptors: list[int]) -> int:
        for is_last in (False, True):
            try:
                answer = await self._answer(self._socket or self._begin(), descriptors)
            except ConnectionError:
                answer = 0
            if answer > 0:
                return answer
            if answer < 0:
                raise OSError(-answer, os.strerror(-answer))
            self.close()
            if is_last:
                break
        raise OSError("the fork server does not answer")

    async def _answer(self, connection: socket.socket, descriptors: list[int]) -> int:
        """A pid; an error's negative number; 0 for none."""
        socket.send_fds(connection, [b"fork"], descriptors)
        loop = asyncio.get_running_loop()
        return int(await loop.sock_recv(connection, _LONGEST_ANSWER_BYTES) or b"0")

    def _begin(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", supervisor.__file__, supervisor.FORKS],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
            )
        ours.setblocking(False)
        self._socket = ours
        return ours

    def close(self) -> None:
        """End the process; the supervisors go on."""
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._socket = self._process = None


async def _to_the_end(asking: Coroutine[None, None, int]) -> int:
    """The answer, which is read also if the caller is cancelled: left unread, it would be taken for the next one's."""
    task = asyncio.ensure_future(asking)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen: the cancelled caller wants no result
        raise


def _pipes() -> tuple[tuple[int, int], tuple[int, int]]:
    """Our ends and theirs: what it is told, and what it says."""
    read_told, told = os.pipe()
    try:
        said, write_said = os.pipe()
    except OSError:
        _close((read_told, told))
        raise
    return (told, said), (read_told, write_said)


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)
