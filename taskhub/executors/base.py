"""The contract of "where an execution runs".

The hub decides what runs, for how long and what its end means; an executor starts it, looks at it, ends it and reads
its log. Every method may be called again after a crash, by another process, and must then find what the first call
made instead of making it twice. No method keeps state in the process.

An executor's errors are `ExecutorError`: `permanent` says whether asking again can help, `code` and `message` may be
shown to a caller and hold nothing internal.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID


class ExecutorError(Exception):
    """`code` is a word for programs, `message` a sentence for people; `permanent`: asking again will not help."""

    def __init__(self, code: str, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class Launch:
    """What is to run. `sandbox_id` is empty where the executor is to make a sandbox for it."""

    execution_id: UUID
    session_name: str
    script: str
    timeout_s: int
    sandbox_id: str = ""
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Where it runs."""

    execution_id: UUID
    sandbox_id: str
    session_name: str
    command_id: str


@dataclass(frozen=True, slots=True)
class Observation:
    """How it stands. `unknown` is no news (the sandbox service does not answer); `gone` is final."""

    state: Literal["running", "ended", "gone", "unknown"]
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class LogLine:
    """Line `n` (from 1) of the log, without its line end; the same `n` is the same line in every reading.

    `cut` marks the hub's own last line of a log that was longer than the limit.
    """

    n: int
    stream: Literal["stdout", "stderr"]
    line: str
    timestamp: datetime
    cut: bool = False


class Executor(Protocol):
    async def launch(self, launch: Launch) -> Place:
        """Start the script, at most once however often this is called for an execution. Raises ExecutorError."""
        ...

    async def observe(self, places: Sequence[Place]) -> list[Observation]:
        """How each one stands, in the order given."""
        ...

    async def stop(self, place: Place) -> Observation:
        """End the script: ask first, then kill; its log stays readable. Raises ExecutorError."""
        ...

    def follow_log(self, place: Place) -> AsyncGenerator[list[LogLine], None]:
        """The log from its first line, in batches as they come, until the script has ended. Raises ExecutorError."""
        ...

    async def release(self, place: Place, *, made_sandbox: bool) -> None:
        """Give back the session, and the sandbox if `launch` made it. What is gone already is no error."""
        ...
