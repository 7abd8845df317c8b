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
from taskhub.services.execution_preparation import (
    execution_mark_begun,
    execution_note_commit,
    execution_note_network_closed,
)
from taskhub.web.thread_pool import with_database

log = logging.getLogger(__name__)

LOCK_AGAIN_S: Final = 5.0
EARLY: Final = ExecutorError("script_early", "The script did not wait for that, and was ended.", permanent=True)


class Lost(Exception):
    """The execution is not this worker's any more, or has ended."""


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
        self._locks = execution.environment is not None and execution.environment.spec.locks
        self._may_begin = not self._locks
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
        """The script waits for the network to be closed."""
        return self._waits and self._begun is None and not self._may_begin and self._execution.is_set_up

    @property
    def began_too_early(self) -> bool:
        """A setup can say that the script has begun, and let it begin; the row knows whether that may be."""
        return self._locks and self._begun is not None and not self._execution.network_closed

    @property
    def due_s(self) -> float:
        """Seconds until the close of the network is tried again."""
        return max(0.0, self.lock_at - time.monotonic()) if self.wants_lock else math.inf

    async def close_network(self) -> None:
        """Close it, and let the script begin. Raises Lost.

        Raises a permanent ExecutorError where it cannot be closed; else `due_s` says when it is tried again.
        """
        self.lock_at = time.monotonic() + LOCK_AGAIN_S
        try:
            if not self._execution.network_closed:
                await self._executor.close_network(self._place)
                if not await with_database(execution_note_network_closed, execution=self._execution):
                    raise Lost
            await self._executor.let_begin(self._place)
        except ExecutorError as error:
            log.warning("the network of execution %s is not closed: %s", self._execution.pk, error.code)
            self.refusal = error
            if error.permanent:
                raise
        else:
            self._may_begin = True

    async def note(self) -> None:
        """Write down what was checked out, and that the script has begun. Raises Lost."""
        execution, is_ours = self._execution, True
        if self._checked_out is not None and not execution.commit:
            commit = self._checked_out.commit
            is_ours = await with_database(execution_note_commit, execution=execution, commit=commit)
        if is_ours and self._begun is not None and not self.began_too_early:
            at = None if self._is_first else self._began_at(self._begun)
            is_ours = await with_database(execution_mark_begun, execution=execution, at=at)
        if not is_ours:
            raise Lost

    def _began_at(self, begun: ScriptBegun) -> datetime | None:
        """The mark may be older than this worker. The sandbox's clock is taken at its word within what can be."""
        now, limit = timezone.now(), self._execution.setup_deadline
        earliest = now if limit is None else limit - timedelta(seconds=setup_limit_s(self._execution))
        return min(max(datetime.fromtimestamp(begun.at, UTC), earliest), now)


def setup_limit_s(execution: Execution) -> int:
    """Seconds for its checkout and setup."""
    version = execution.environment
    return SETUP_TIMEOUT_S if version is None else version.spec.setup_limit_s


def deadline_of(execution: Execution, *, is_first: bool = False) -> float:
    """On the monotonic clock: a wall clock that is set while the script runs neither ends it nor lets it go on.

    `is_first`: the caller has started it just now; it has all its time, also if the clock was set since.
    """
    left_s = math.inf
    if execution.deadline is not None:
        most_s = execution.timeout_s if execution.started_at is not None else setup_limit_s(execution)
        left_s = most_s if is_first else min((execution.deadline - timezone.now()).total_seconds(), most_s)
    return time.monotonic() + left_s


def shift_times(execution: Execution, by: timedelta) -> None:
    """The wall clock was set by so much while it was under way."""
    if execution.started_at is not None:
        execution.started_at += by
    if execution.setup_deadline is not None:
        execution.setup_deadline += by
