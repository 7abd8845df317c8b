"""Files of a verification: what the run that it checks left, read back from the storage and compared.

Whatever is not there as it was makes the verification unavailable, never failed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from typing import Final

from taskhub.executions.executor import CHANGE_SETS, ExecutorError, Launch
from taskhub.lib.per_loop import PerLoop
from taskhub.lib.storage_threads import on_storage_thread
from taskhub.models import Artifact, Execution
from taskhub.web.thread_pool import with_database
from taskhub.worker.stored_content import stored_content

LARGE_BYTES: Final = 20 * 1024 * 1024
"""A worker holds the files of a start in memory: of those that have more, one at a time."""
_large: Final = PerLoop(lambda: asyncio.Semaphore(1))


@asynccontextmanager
async def evidence_launch(verification: Execution, launch: Launch) -> AsyncIterator[Launch]:
    """The launch at the commit of the run that is checked, with what the run has changed and the files that it left."""
    rows = await with_database(evidence_rows, verification)
    is_large = sum(row.size for row in rows) > LARGE_BYTES
    async with _large.get() if is_large else nullcontext():
        files = await on_storage_thread(lambda: {row.path: evidence_content(row) for row in rows}) if rows else {}
        commit = verification.checks.commit if verification.checks else ""
        if launch.checkout is None or not commit:
            yield replace(launch, files=files)
            return
        changes: dict[str, bytes] = {name: files.pop(name) for name in CHANGE_SETS if name in files}
        yield replace(launch, files=files, checkout=replace(launch.checkout, ref=commit, changes=changes))


def evidence_rows(verification: Execution) -> list[Artifact]:
    """The kept files of the run that is checked, but for those that were not kept under their own names. Raises
    ExecutorError, a permanent one, where they are not all that a verification needs."""
    run = verification.checks
    spec = verification.environment.spec if verification.environment is not None else None
    if spec is not None and spec.repository is not None and not (run and run.commit):
        words = "No run of the task has recorded a commit of the environment's repository; execute the task first."
        raise _unavailable("evidence_missing", words)
    if run is None:
        return []
    rows = list(Artifact.objects.filter(execution=run))
    if run.evidence_left_out:
        raise _unavailable(
            "evidence_incomplete",
            f"{run.evidence_left_out} of the last run's results were not kept as they are: too large, too many, "
            "unreadable, lost with the sandbox, or with a secret value in their names.",
        )
    if len(rows) != run.artifacts_kept:
        raise _unavailable("evidence_gone", "Files of the last run have expired; execute the task again.")
    if not all(row.sha256 for row in rows):
        words = "The last run's files were kept without their digests, by an earlier release; execute the task again."
        raise _unavailable("evidence_gone", words)
    if (rows or run.commit) and not _is_of_environment(verification, run):
        words = "The last run was in another environment than the one that the task is verified in; execute it there."
        raise _unavailable("evidence_elsewhere", words)
    return [row for row in rows if not row.path_is_masked]


def _is_of_environment(verification: Execution, run: Execution) -> bool:
    """What was made in one environment must not be run in another, whose secrets it might read."""
    theirs, ours = run.environment, verification.environment
    return (theirs and theirs.environment_id) == (ours and ours.environment_id)


def evidence_content(row: Artifact) -> bytes:
    """Reads the storage, and blocks. Raises ExecutorError."""
    words = f"The copy of {row.path[:200]} has expired; execute the task again."
    content = stored_content(row.stored_as, gone=_unavailable("evidence_gone", words))
    if hashlib.sha256(content).hexdigest() != row.sha256:
        words = f"The copy of {row.path[:200]} is not what the last run left; execute the task again."
        raise _unavailable("evidence_changed", words)
    return content


def _unavailable(code: str, words: str) -> ExecutorError:
    return ExecutorError(code, words, permanent=True)
