"""The part of the executor's contract that makes prepared snapshots (`models/prepared_snapshot.py`).

As everywhere in it, each method may be called again after a crash, by another process, and finds what was made before.
None waits for long: each is one look, which does what is next. Errors are `ExecutorError`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from taskhub.models import EnvironmentSpec, SandboxSize


@dataclass(frozen=True, slots=True)
class Preparing:
    """`sandbox` and `snapshot` are the names that these have, or will have, at the sandbox service."""

    sandbox: str
    snapshot: str
    environment: EnvironmentSpec


class PrepareLook(NamedTuple):
    """How prepare stands. `exit_code` is None while it runs; `log_tail` has its last lines where it has failed.

    `size` is what the sandbox has; None where the service does not say it.
    """

    exit_code: int | None
    size: SandboxSize | None = None
    log_tail: str = ""


class Preparer(Protocol):
    async def prepare(self, preparing: Preparing) -> PrepareLook:
        """Run the environment's prepare in a sandbox of its own, once however often this is called.

        That has the environment's image, size, network and variables, and no checkout, secrets, credential or volumes.
        Raises ExecutorError; a permanent one also where there is a snapshot of this name that was not asked for.
        """
        ...

    async def keep_snapshot(self, preparing: Preparing) -> str:
        """Stop the sandbox, and keep it as the snapshot; the snapshot's id once it is active, "" before.

        Raises ExecutorError, of the code `sandbox_not_found` where sandbox and snapshot are both gone.
        """
        ...

    async def drop_preparing(self, preparing: Preparing) -> None:
        """Delete the sandbox. One that is gone is no error. Raises ExecutorError, also while its state changes."""
        ...

    async def drop_snapshot(self, preparing: Preparing, snapshot_id: str) -> None:
        """Delete the snapshot, by its name where its id is not known. One that is gone is no error. Likewise."""
        ...
