"""The ladder that ends a script without its help.

    0. where its runner is dead: did it say how the script ended?  3 s
    1. TERM by the runner, to the script's process group        4 s
    2. KILL by the runner                                       2 s
    3. KILL round the runner, by the marks in the environment   2.5 s, and 1 s for the runner's last word
    4. a snapshot of the log, which goes with its session       3 s
    5. deletion of the session, which ends its process tree     7 s

Each rung has its own time and is left when it fails, so the whole takes at most 20 s. What outlives the last rung, only
stopping the sandbox ends.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sandboxes.errors import KeyRefused, SandboxError, SandboxMissing, SandboxUnavailable
from sandboxes.execute.script_runner import RUN_TWICE, Folders
from sandboxes.log_follower import Snapshot, read_snapshot
from taskhub.executions.executor import LogTokens, Place, RunnerState, ScriptEnd, Stopped

if TYPE_CHECKING:
    from sandboxes.gateway import Toolbox

log = logging.getLogger(__name__)

SIGNALS: Final = (("TERM", 4.0), ("KILL", 2.0))
ROUND_S: Final = 2.5
LAST_WORD_S: Final = 1.0
SNAPSHOT_S: Final = 3.0
SESSION_S: Final = 7.0
_SILENCE: Final = (SandboxUnavailable, KeyRefused)
"""Of the sandbox itself these say nothing, but for those that come from its inside."""
_POLL_S: Final = 0.1
_ASK_S: Final = 1.0
"""How often the exit code is asked for where the log is followed: its connection may be away."""


class _RunnerGone(Exception):
    """The command has ended, and its runner did not say how."""


class Ladder:
    """One ending. `ended` answers how the script ended where the caller follows the log."""

    def __init__(self, toolbox: Toolbox, place: Place, ended: Callable[[], ScriptEnd | None] | None) -> None:
        self._toolbox = toolbox
        self._place = place
        self._ended = ended
        self._folder = Folders(place.session_name).own
        self._answered = False

    async def climb(self, *, runner_is_dead: bool) -> Stopped:
        """Raises SandboxMissing where the sandbox is gone; SandboxUnavailable where it answered nothing at all."""
        try:
            if stopped := await (self._said_before() if runner_is_dead else self._by_signals()):
                return stopped
        except _RunnerGone:
            log.info("the runner of execution %s has died", self._place.execution_id)
        if end := await self._round():
            return Stopped("mark", end)
        snapshot = await self._snapshot()
        is_deleted = await self._delete_session()
        if not self._answered:
            raise SandboxUnavailable
        end = snapshot.end if snapshot else None
        return Stopped("session" if is_deleted else "sandbox", end, snapshot.lines if snapshot else None)

    async def _said_before(self) -> Stopped | None:
        """Its last word may not have come through: the log's connection was away, or lags behind."""
        snapshot = await self._snapshot()
        return Stopped("itself", snapshot.end, snapshot.lines) if snapshot and snapshot.end else None

    async def _by_signals(self) -> Stopped | None:
        if end := self._ended() if self._ended else None:
            return Stopped("itself", end)
        for signal, seconds in SIGNALS:
            try:
                async with asyncio.timeout(seconds):
                    if not await self._send(signal):
                        return None
                    return Stopped("signal", await self._last_word())
            except (TimeoutError, SandboxError) as error:
                self._note(error)
        return None

    async def _send(self, signal: str) -> bool:
        """Whether there is a runner to send it to."""
        control = shlex.quote(f"{self._folder}/control")
        # Opened for reading too, so that it never waits for a runner that has just ended.
        send = f"[ -p {control} ] && echo {signal} 1<>{control}"
        code, _ = await self._toolbox.shell(f"bash -c {shlex.quote(send)}")
        self._answered = True
        return code == 0

    async def _last_word(self) -> ScriptEnd:
        """How the script ended, once the runner has said it. Raises _RunnerGone."""
        asked = time.monotonic()
        while True:
            if self._ended is None or time.monotonic() > asked + _ASK_S:
                asked = time.monotonic()
                if await self._has_exit_code():
                    return await self._end_in_snapshot()
            if self._ended is not None and (end := self._ended()) is not None:
                return end
            await asyncio.sleep(_POLL_S)

    async def _has_exit_code(self) -> bool:
        command = await self._toolbox.command(self._place.session_name, self._place.command_id)
        self._answered = True
        return command.exit_code is not None and command.exit_code != RUN_TWICE

    async def _end_in_snapshot(self) -> ScriptEnd:
        snapshot = await self._read_snapshot()
        if snapshot is None or snapshot.end is None:
            if not self._place.log_token:
                code = (await self._toolbox.command(self._place.session_name, self._place.command_id)).exit_code
                return ScriptEnd(code or 0)  # started by a release whose runner says nothing
            raise _RunnerGone
        return snapshot.end

    async def _round(self) -> ScriptEnd | None:
        try:
            async with asyncio.timeout(ROUND_S):
                text = f"execution={self._place.execution_id}\n{_program()}"
                await self._toolbox.shell(f"bash -c {shlex.quote(text)}")
                self._answered = True
        except (TimeoutError, SandboxError) as error:
            self._note(error)
        try:
            async with asyncio.timeout(LAST_WORD_S):
                return await self._last_word()
        except (TimeoutError, SandboxError, _RunnerGone) as error:
            self._note(error)
        return None

    async def _snapshot(self) -> Snapshot | None:
        try:
            async with asyncio.timeout(SNAPSHOT_S):
                return await self._read_snapshot()
        except (TimeoutError, SandboxError) as error:
            self._note(error)
            return None

    async def _read_snapshot(self) -> Snapshot | None:
        place = self._place
        tokens = LogTokens.read(place.log_token)
        snapshot = await read_snapshot(self._toolbox, place.session_name, place.command_id, tokens, place.mask)
        self._answered = True
        return snapshot

    async def _delete_session(self) -> bool:
        try:
            async with asyncio.timeout(SESSION_S):
                await self._toolbox.release_session(self._place.session_name)
                self._answered = True
        except (TimeoutError, SandboxError) as error:
            self._note(error)
            return False
        return True

    def _note(self, error: Exception) -> None:
        if isinstance(error, SandboxMissing) and error.what == "sandbox":
            raise error
        if isinstance(error, SandboxError) and (error.is_inside or not isinstance(error, _SILENCE)):
            self._answered = True
        log.info("a rung failed for execution %s: %s", self._place.execution_id, type(error).__name__)


async def runner_state(toolbox: Toolbox, place: Place) -> RunnerState:
    """One request. Raises SandboxError."""
    own = shlex.quote(Folders(place.session_name).own)
    text = (
        f"if ! cd {own}; then echo hidden; elif [ -e lock ]; then "
        "if ! command -v flock >&2; then echo missing; elif flock -n lock true; then echo free; else echo held; fi; "
        "elif [ -e started ]; then echo missing; else echo unbegun; fi; "
        f"grep -qzsFx TASKHUB_RUNNER={place.execution_id} /proc/[0-9]*/environ && echo seen; "
        # The local sandbox server gives each shell a bubblewrap of its own.
        "[[ $(</proc/1/comm) = bwrap ]] && echo apart"
    )
    _, answer = await toolbox.shell(f"bash -c {shlex.quote(text)} 2>/dev/null")
    words = answer.split()
    lock = next((word for word in ("held", "free", "unbegun", "hidden") if word in words), "missing")
    return RunnerState(lock, "seen" in words, "apart" in words)  # type: ignore[arg-type]  # one of the five


@cache
def _program() -> str:
    return (Path(__file__).parent / "round.sh").read_text()
