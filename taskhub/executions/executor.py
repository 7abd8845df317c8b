"""The contract of "where an execution runs".

The hub decides what runs, for how long and what its end means; an executor starts it, looks at it, ends it and reads
its log. Every method may be called again after a crash, by another process, and must then find what the first call
made instead of making it twice. No method keeps state in the process.

An executor's errors are `ExecutorError`s; `code` and `message` may be shown to a caller and hold nothing internal.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, NamedTuple, Protocol
from uuid import UUID

from taskhub.executions.checkout import Checkout
from taskhub.executions.masking import Mask
from taskhub.executions.preparer import Preparer
from taskhub.models import EnvironmentSpec, Lack, SandboxSize

Reference = Literal["snapshot", "secrets", "volumes"]
"""A field of an environment that names something at the sandbox service."""


class ExecutorError(Exception):
    """`code` is a word for programs, `message` a sentence for people; `permanent`: asking again will not help.

    `status` is what a caller who meets it over HTTP gets: 404, 409, 502, 503. `waits_for` names what a start has to
    wait for where the service is well: room for another sandbox (`capacity`), fewer requests (`rate`), an image that is
    being built (`image`), a snapshot that is made active (`snapshot`), or a volume that is being made (`volume`).
    `lack` says of what there is no room, where the service says it; `detail` has its own words, for operators alone.
    `is_inside`: it came from the inside of a sandbox, which its script can break, so it is no word on the service, the
    key or the sandbox. `is_doubtful`: it came from what stands before a sandbox, which may be wrong for a while.
    """

    status: int = 502
    waits_for: Literal["capacity", "rate", "image", "snapshot", "volume"] | None = None
    retry_after_s: float | None = None
    lack: Lack | None = None
    detail: str = ""
    is_inside: bool = False
    is_doubtful: bool = False

    def __init__(self, code: str, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.permanent = permanent

    @property
    def may_pass(self) -> bool:
        """For one who can wait, asking again may help."""
        return not self.permanent or self.is_doubtful


class LogTokens(NamedTuple):
    """What the runner's marks in a log carry, so that nothing else is taken for one: 32 hexadecimal digits each.

    `end` is in the end mark alone, so a script cannot read it in the log before it has ended; `run` is in the others.
    """

    end: str
    run: str

    @classmethod
    def read(cls, token: str) -> LogTokens | None:
        """From an execution's `log_token`; None for one that was started without."""
        return cls(token[:32], token[32:]) if token else None


@dataclass(frozen=True, slots=True)
class Launch:
    """What is to run. `sandbox_id` is empty where the executor is to make a sandbox for it.

    `environment` says what a sandbox that is made for it is like; its variables are in `env` already. `task_id` names
    its task in the volumes' subpaths.
    `merge_output`: stderr goes the way of stdout, so their order is kept. `all_files`: the folders that
    `TASKHUB_ARTIFACTS_SKIP` names are looked through as well. `files`, by path, are in the working folder when the
    script starts; they are neither changes nor kept unless the script changes them. The environment's prepare,
    `checkout` and its setup come before the script, in `setup_timeout_s` seconds. `prepared_snapshot`: what a sandbox
    is made from where it is there, so that it is prepared already; "" where there is none.
    """

    execution_id: UUID
    session_name: str
    script: str
    timeout_s: int
    log_token: str
    sandbox_id: str = ""
    env: dict[str, str] = field(default_factory=dict, repr=False)
    merge_output: bool = False
    all_files: bool = False
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    environment: EnvironmentSpec | None = None
    task_id: UUID | None = None
    checkout: Checkout | None = None
    setup_timeout_s: int = 0
    prepared_snapshot: str = ""

    @property
    def prepares(self) -> bool:
        """Something comes before the script: `ScriptBegun` tells when that has begun."""
        spec = self.environment
        return self.checkout is not None or bool(spec and (spec.prepare or spec.setup))

    @property
    def locks(self) -> bool:
        """The network is closed between setup and script."""
        return self.environment is not None and self.environment.locks


@dataclass(frozen=True, slots=True)
class Place:
    """Where it runs. `mask`, for an execution with secret values: what the executor shows of its log is masked.

    `size` is what the sandbox has, from a launch; None where the service does not say it. `lost_snapshot`: the launch's
    prepared snapshot is not at the service any more.
    """

    execution_id: UUID
    sandbox_id: str
    session_name: str
    command_id: str
    log_token: str = ""
    mask: Mask | None = field(default=None, compare=False, repr=False)
    size: SandboxSize | None = field(default=None, compare=False)
    lost_snapshot: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Observation:
    """How it stands. `unknown` is no news (the sandbox service does not answer); `gone` is final.

    `ended` without an exit code: the sandbox is there and knows of no such command any more.
    `reason`, of one that is gone: `disk_limit` where its files took more than the sandbox's disk.
    """

    state: Literal["running", "ended", "gone", "unknown"]
    exit_code: int | None = None
    reason: Literal["", "disk_limit"] = ""


class FileChange(NamedTuple):
    """What happened to a file; `path` is relative to the working folder, `size` in bytes and None for a deleted one."""

    change: Literal["created", "modified", "deleted"]
    path: str
    size: int | None


@dataclass(frozen=True, slots=True)
class FileChanges:
    """What happened in a working folder, up to change number `upto` (from 1, in the order of the executor's looks).

    A file is in it once, whatever happened to it; `left_out` counts changes that are not named.
    """

    upto: int
    files: list[FileChange]
    left_out: int = 0


CHANGE_SETS: Final = ("changes.mbox", "changes.patch")
"""What a script has committed, and what else it has changed of a checkout's tracked files."""


class ProducedFile(NamedTuple):
    """A file that a script left; `path` is relative to its working folder, `size` in bytes.

    `is_change_set`: the runner has made it (CHANGE_SETS), and it is not in that folder.
    """

    path: str
    size: int
    is_change_set: bool = False


@dataclass(frozen=True, slots=True)
class Produced:
    """The files in a working folder after the end, in the order in which they are to be kept: change sets come first.

    `count` is of all but these, also of those not named; `changes` are the last ones, read with them. `is_lost`: the
    list of files is not there, so it is not known what there was.
    """

    files: list[ProducedFile]
    count: int
    changes: FileChanges
    is_lost: bool = False


SPLIT_MARK: Final = " [TaskHub: the line goes on]"
"""Ends every part of a split line but the last."""


class LogLine(NamedTuple):
    """Line `n` (from 1) of the log, without its line end; the same `n` is the same line in every reading.

    `cut` marks the hub's own last line of a log that was longer than the limit; `partial` a line that is not finished.
    """

    n: int
    stream: Literal["stdout", "stderr"]
    line: str
    timestamp: datetime
    cut: bool = False
    partial: bool = False


@dataclass(frozen=True, slots=True)
class ScriptEnd:
    """The runner's last word: the script's exit code, the number of the last change, how many files there are.

    `reason` says what the exit code does not: `killed` for a runner that was killed, whose exit code is its own;
    `interpreter` for a script whose first line names a program that the sandbox does not have. Where the script has not
    begun, it says why: `prepare` or `setup` (the exit code is theirs), `given`, `git`, or a word of `CHECKOUT_FAILED`.
    """

    exit_code: int
    changes: int = 0
    files: int = 0
    reason: str = ""


CHECKOUT_FAILED: Final = frozenset(
    {"checkout", "ref", "auth", "redirect", "host", "repository", "submodule", "changes"}
)
"""Why a checkout has failed, as far as git says."""


@dataclass(frozen=True, slots=True)
class CheckedOut:
    """The commit, in hexadecimal digits."""

    commit: str


@dataclass(frozen=True, slots=True)
class WaitsForLock:
    """Checkout and setup are done; the script begins when the network is closed (`Executor.let_begin`)."""


@dataclass(frozen=True, slots=True)
class ScriptBegun:
    """Checkout and setup are done; `at` is the sandbox's time, in seconds since 1970."""

    at: int


@dataclass(frozen=True, slots=True)
class FilesChanged:
    """There are changes of files up to this number."""

    upto: int


@dataclass(frozen=True, slots=True)
class PartialLines:
    """The unfinished lines at the end of the log, at most one a stream. They replace the ones told before.

    A line that comes later has the number of one of them, and replaces it.
    """

    lines: tuple[LogLine, ...]


Sign = ScriptEnd | FilesChanged | PartialLines | CheckedOut | WaitsForLock | ScriptBegun
"""What a log's source says beside the lines."""

Signed = Callable[[Sign], None]
Troubled = Callable[[ExecutorError, float], None]


@dataclass(frozen=True, slots=True)
class Stopped:
    """How a script was ended. `end` is None where its exit code is not known.

    `by`: `itself` (it had ended already), `signal` (through its runner), `mark` (round its runner), `session` (the
    session was deleted, or is gone), `sandbox` (only stopping the sandbox will end it). `log` is the whole log where it
    cannot be read any more. `is_silent`: nothing in the sandbox has answered.
    """

    by: Literal["itself", "signal", "mark", "session", "sandbox"]
    end: ScriptEnd | None = None
    log: list[LogLine] | None = None
    is_silent: bool = False


@dataclass(frozen=True, slots=True)
class RunnerState:
    """Whether a runner lives: the lock that it holds, and whether one of its processes is seen.

    `free` is a runner that has died, or has just ended; `unbegun` one that has not begun; `hidden` one whose folder its
    script has deleted, moved or locked; `missing` is no news. Where fresh processes are `apart`, they do not see those
    of the session, and `seen` is always False.
    """

    lock: Literal["held", "free", "unbegun", "hidden", "missing"]
    seen: bool
    apart: bool = False


class Executor(Preparer, Protocol):
    async def launch(self, launch: Launch) -> Place:
        """Start the script, at most once however often this is called for an execution. Raises ExecutorError.

        Its current directory is a folder of its own, with the launch's files: the execution's working folder.
        """
        ...

    async def has_sandbox(self, sandbox_id: str) -> bool:
        """Whether there is a sandbox of this id, in whatever state. Raises ExecutorError where that is not known."""
        ...

    async def look_up(self, environment: EnvironmentSpec, field: Reference) -> SandboxSize | None:
        """Whether the service has what this field names, and a snapshot's size. Raises ExecutorError; reads only."""
        ...

    async def observe(self, places: Sequence[Place]) -> list[Observation]:
        """How each one stands, in the order given."""
        ...

    def changed_files(self, seen: Mapping[Place, int]) -> AsyncGenerator[tuple[Place, FileChanges | None], None]:
        """What changed in the working folders after the given change numbers (0 for all), as answers come.

        A place where nothing changed is left out; None is one that does not answer. It is one short request for each,
        with a time limit of its own, so that none holds up the others for long. The same numbers bring the same
        changes again, until the next ones push them out: then they are only counted.
        """
        ...

    async def produced_files(self, place: Place, *, after: int = 0) -> Produced:
        """The files that are there when the script has ended, and the changes after number `after`; one request.

        Those below `out/` come first, then the last modified ones. None where they are not known. Raises ExecutorError.
        """
        ...

    def read_file(self, place: Place, path: str, *, is_change_set: bool = False) -> AsyncGenerator[bytes, None]:
        """The content of one of them. Raises ExecutorError."""
        ...

    async def present(self, places: Sequence[Place]) -> list[Observation]:
        """Whether their sandboxes still run, in the order given: `running`, `gone` or `unknown`.

        The cost does not grow with each place: the sandboxes are read by pages of their list.
        """
        ...

    async def runner_state(self, place: Place) -> RunnerState:
        """Whether the runner lives. One request. Raises ExecutorError."""
        ...

    async def close_network(self, place: Place) -> None:
        """Close the network of its sandbox, whose script waits for that. Raises ExecutorError."""
        ...

    async def let_begin(self, place: Place) -> None:
        """Let the script begin. Raises ExecutorError."""
        ...

    async def stop(
        self, place: Place, *, ended: Callable[[], ScriptEnd | None] | None = None, runner_is_dead: bool = False
    ) -> Stopped:
        """End the script without its help, within 20 s: through its runner, round it, with its session.

        `ended` answers how it ended where the caller follows the log. A runner that is dead is gone round at once.
        Raises ExecutorError; a permanent one where the sandbox is gone.
        """
        ...

    async def stop_sandbox(self, place: Place) -> None:
        """Stop the sandbox, and with it all that runs there. One that is gone is no error. Raises ExecutorError."""
        ...

    def follow_log(
        self,
        place: Place,
        *,
        on_trouble: Troubled | None = None,
        on_sign: Signed | None = None,
        enough: Callable[[], bool] = lambda: False,
        is_watched: bool = False,
    ) -> AsyncGenerator[list[LogLine], None]:
        """The log from its first line, in batches as they come, until the script has ended. Raises ExecutorError.

        A source that is cut off is opened again, without a missing or repeated line; `on_trouble` is told why, and in
        how many seconds. `on_sign` hears what else the source says, a ScriptEnd last of all, if there is one. Once
        `enough` returns true, batches are empty: what `on_sign` hears is all that is still read.
        `is_watched`: the caller looks at the runner itself, so a silent source is not asked whether it has ended.
        """
        ...

    async def release(self, place: Place, *, made_sandbox: bool) -> None:
        """Give back the session, and the sandbox if `launch` made it. What is gone already is no error."""
        ...
