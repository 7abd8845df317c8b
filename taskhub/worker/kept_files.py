"""The files that are kept of an execution that has ended."""

from __future__ import annotations

import logging
from typing import Final

from taskhub.executions import artifact_collector
from taskhub.executions.executor import Executor, ExecutorError, Place, ScriptEnd
from taskhub.models import Execution
from taskhub.services.file_changes import file_changes_tell
from taskhub.web.thread_pool import with_database

log = logging.getLogger(__name__)

TRIES: Final = 3
"""So often files are asked for where the sandbox answers all else."""


class KeptFiles:
    """Of one execution, for one worker."""

    def __init__(self, execution: Execution, place: Place, executor: Executor) -> None:
        self._execution = execution
        self._place = place
        self._executor = executor
        self._tries = 0

    def give_up(self) -> None:
        """The next try is the last one."""
        self._tries = TRIES

    async def keep(self, end: ScriptEnd | None) -> artifact_collector.Kept | None:
        """The copies; None where there is nothing to keep. Raises ExecutorError where asking again may help."""
        try:
            return await self._keep(end)
        except ExecutorError as error:
            log.warning("the files of execution %s cannot be had: %s", self._execution.pk, error.code)
            if error.may_pass and not await self._are_lost():
                raise
            return artifact_collector.Kept([], evidence_left_out=1)

    async def _keep(self, end: ScriptEnd | None) -> artifact_collector.Kept | None:
        execution = self._execution
        if end is None or execution.is_verification:
            return None  # of a verification, only its log and its exit code are kept
        # What a script has changed of a checkout is not counted among its files: there may be nothing else.
        has_checkout = bool(execution.commit) and not execution.is_set_up
        if not (end.files or end.changes > execution.files_seen or has_checkout):
            return None
        kept = await artifact_collector.keep(self._executor, self._place, after=execution.files_seen)
        if kept.changes is not None and kept.changes.upto > execution.files_seen:
            await with_database(file_changes_tell, execution=execution, changes=kept.changes)
        return kept

    async def _are_lost(self) -> bool:
        """The sandbox is gone, or answers all else."""
        self._tries += 1
        if self._tries > TRIES:
            return True
        (seen,) = await self._executor.observe([self._place])
        return seen.state == "gone" or (seen.state != "unknown" and self._tries == TRIES)
