"""What comes before a script: checkout, setup, and the close of the sandbox's network.

The runner sees to the first two and tells by marks in the log how far it is (`ScriptBegun` and those before it); the
row follows. Where the network is to be closed, the runner waits until that is done. A worker that takes over hears all
marks again, and does again what the one before may have done: each step may be repeated.
"""

from __future__ import annotations

import logging
import math
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from django.utils import timezone

from taskhub.executions.executor import CheckedOut, Executor, ExecutorError, Place, ScriptBegun, Sign, WaitsForLock
from taskhub.models import Execution
from taskhub.models.environment import SETUP_TIMEOUT_S
from taskhub.services import executions
from taskhub.web.thread_pool import with_database

log = logging.getLogger(__name__)

LOCK_AGAIN_S: Final = 5.0


class Preparation:
    """Of one execution. `is_first`: no other worker has followed it before."""

    def __init__(self, execution: Execution, place: Place, executor: Executor, *, is_first: bool) -> None:
        self._execution = execution
        self._place = place
        self._executor = executor
        self._is_first = is_first
        self._checked_out: CheckedOut | None = None
        self._waits = False
        self._begun: ScriptBegun | None = None
        self._is_locked = not (execution.environment is not None and execution.environment.spec.locks)
        self.lock_at = 0.0
        """When closing the network is tried again, on the monotonic clock."""
        self.refusal: ExecutorError | None = None
        """Why it is not closed yet."""

    def hear(self, sign: Sign) -> bool:
        """Whether the sign is of the preparation."""
        if isinstance(sign, CheckedOut):
            self._checked_out = sign
        elif isinstance(sign, WaitsForLock):
            self._waits = True
        elif isinstance(sign, ScriptBegun):
            self._begun = sign
        else:
            return False
        return True

    @property
    def wants_lock(self) -> bool:
        """The network is to be closed; also where a script says that it has begun without that."""
        is_due = self._waits or self._begun is not None
        return is_due and not self._is_locked and self._execution.is_set_up

    @property
    def due_s(self) -> float:
        """Seconds until the close of the network is tried again."""
        return max(0.0, self.lock_at - time.monotonic()) if self.wants_lock else math.inf

    async def close_network(self) -> ExecutorError | None:
        """The reason why it cannot be closed; where asking again may help, `due_s` says when, and None is returned."""
        self.lock_at = time.monotonic() + LOCK_AGAIN_S
        try:
            await self._executor.lock(self._place)
        except ExecutorError as error:
            log.warning("the network of execution %s is not closed: %s", self._execution.pk, error.code)
            self.refusal = error
            return error if error.permanent else None
        self._is_locked = True
        return None

    async def note(self) -> bool:
        """Write down what was checked out, and that the script has begun. False if the execution is another's now."""
        execution, is_ours = self._execution, True
        if not execution.is_set_up:
            return True
        if self._checked_out is not None and not execution.commit:
            commit = self._checked_out.commit
            is_ours = await with_database(executions.execution_note_commit, execution=execution, commit=commit)
        if is_ours and self._begun is not None and self._is_locked:
            at = None if self._is_first else self._began_at(self._begun)
            is_ours = await with_database(executions.execution_mark_begun, execution=execution, at=at)
        return is_ours

    def _began_at(self, begun: ScriptBegun) -> datetime | None:
        """The mark may be older than this worker. The sandbox's clock is taken at its word within what can be."""
        now, limit = timezone.now(), self._execution.setup_deadline
        earliest = now if limit is None else limit - timedelta(seconds=setup_limit_s(self._execution))
        return min(max(datetime.fromtimestamp(begun.at, UTC), earliest), now)


def setup_limit_s(execution: Execution) -> int:
    """Seconds for its checkout and setup."""
    version = execution.environment
    return SETUP_TIMEOUT_S if version is None else version.spec.setup_limit_s


def deadline_of(execution: Execution) -> float:
    """On the monotonic clock: a wall clock that is set while the script runs neither ends it nor lets it go on."""
    left_s = math.inf
    if execution.deadline is not None:
        most_s = execution.timeout_s if execution.started_at is not None else setup_limit_s(execution)
        left_s = min((execution.deadline - timezone.now()).total_seconds(), most_s)
    return time.monotonic() + left_s
