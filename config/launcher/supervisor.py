"""Child processes: started, restarted when they die, ended together.

1. A child is the leader of a session of its own, so that Ctrl-C reaches only the supervisor, which then ends the
   children in its own order; on Linux it also gets SIGTERM should the supervisor be killed.
2. A child that dies is started again after 0.5, 1, 2 … seconds. Five deaths within a minute end everything.
3. `stop` sends SIGTERM to all but the last-stopped children, waits, sends SIGKILL to what is left of their sessions,
   and then does the same with the rest (Redis), on which the others stand.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

DEATHS: Final = 5
WITHIN_S: Final = 60.0
LAST_LINES: Final = 20
_PR_SET_PDEATHSIG: Final = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class KeepsDyingError(RuntimeError):
    """A child died too often; `lines` are its last ones."""

    def __init__(self, name: str, code: int, lines: Sequence[str]) -> None:
        super().__init__(f"{name} keeps ending (exit code {code}); its last lines:")
        self.lines = list(lines)


@dataclass
class Child:
    """What to run. `fds` are open descriptors it inherits; a `last` child is stopped after all others; of a
    `quiet` one only the last words are shown, when it keeps dying."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    fds: Sequence[int] = ()
    last: bool = False
    quiet: bool = False
    process: asyncio.subprocess.Process | None = None
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS))


class Supervisor:
    """Runs children until `stop`, or until one keeps dying (`run` then raises KeepsDyingError)."""

    def __init__(self, say: Callable[[str, str], None]) -> None:
        """`say(child's name, line)` shows a line of a child, or about it."""
        self._say = say
        self.children: list[Child] = []
        self._watchers: list[asyncio.Task[None]] = []
        self._stopping = False
        self._given_up: asyncio.Future[KeepsDyingError] = asyncio.get_running_loop().create_future()

    async def start(self, child: Child) -> None:
        self.children.append(child)
        await self._spawn(child)
        self._watchers.append(asyncio.create_task(self._watch(child), name=child.name))

    async def run(self) -> None:
        """Until a child keeps dying; also for children that are started later. Raises KeepsDyingError."""
        raise await self._given_up

    async def _spawn(self, child: Child) -> None:
        child.process = await asyncio.create_subprocess_exec(
            *child.command,
            env=dict(child.env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            pass_fds=tuple(child.fds),
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )

    async def _watch(self, child: Child) -> None:
        while True:
            code = await self._until_dead(child)
            if self._is_stopping():
                return
            child.deaths.append(time.monotonic())
            if len(child.deaths) == DEATHS and child.deaths[-1] - child.deaths[0] < WITHIN_S:
                self._give_up(KeepsDyingError(child.name, code, child.lines))
                return
            self._say(child.name, f"ended with exit code {code}; starting it again")
            recent = [death for death in child.deaths if child.deaths[-1] - death < WITHIN_S]
            await asyncio.sleep(0.5 * 2 ** (len(recent) - 1))
            if self._is_stopping():  # by now
                return
            try:
                await self._spawn(child)
            except OSError as error:
                self._give_up(KeepsDyingError(child.name, error.errno or 1, [str(error)]))
                return

    def _is_stopping(self) -> bool:
        return self._stopping

    def _give_up(self, error: KeepsDyingError) -> None:
        if not self._given_up.done():
            self._given_up.set_result(error)

    async def _until_dead(self, child: Child) -> int:
        process = child.process
        if process is None or process.stdout is None:
            raise RuntimeError(f"{child.name} was never started")
        printer = asyncio.create_task(self._print(child, process.stdout))
        code = await process.wait()
        # Its children may still hold the pipe: what it said itself has been read by now.
        await asyncio.wait({printer}, timeout=0.2)
        printer.cancel()
        return code

    async def _print(self, child: Child, output: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await output.readline()
            except ValueError:  # longer than the reader's limit: the rest follows as the next line
                continue
            if not line:
                return
            text = line.decode("utf-8", errors="replace").rstrip()
            child.lines.append(text)
            if not child.quiet:
                self._say(child.name, text)

    async def stop(self, *, within_s: float) -> None:
        """End everything; what has not gone after 0.7 of `within_s` seconds is killed."""
        self._stopping = True
        await self._end([child for child in self.children if not child.last], within_s * 0.6)
        await self._end([child for child in self.children if child.last], within_s * 0.1)
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)

    @staticmethod
    async def _end(children: Sequence[Child], within_s: float) -> None:
        alive = [child.process for child in children if child.process and child.process.returncode is None]
        for process in alive:
            with suppress(ProcessLookupError):
                process.terminate()
        if alive:
            await asyncio.wait([asyncio.create_task(process.wait()) for process in alive], timeout=within_s)
        for process in alive:
            # The whole session: what a killed child had started must not outlive it.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        await asyncio.gather(*[process.wait() for process in alive])
