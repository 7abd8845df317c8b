"""Follows a running execution to its end, and settles it.

1. The log is read as it is written, into a spool: what a lost execution printed is kept, with the times of its lines.
2. The runner's end mark in the log is the end. Nothing is asked for. Where a checkout or a setup comes first, another
   mark says when the script begins: until then the execution is `starting`, and the limit is the setup's.
3. While nothing comes, the runner's lock is looked at: one that has died does not say so.
4. A stop that is asked for, and the time limit, climb the executor's ladder.
5. Log and files are stored, and the row says how it ended.

Every write is fenced: if another worker has taken the execution over, this one drops what it has.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from django.utils import timezone

from taskhub.executions import artifact_collector, get_executor
from taskhub.executions.executor import (
    ExecutorError,
    FilesChanged,
    ScriptEnd,
    Sign,
    Stopped,
)
from taskhub.executions.place import execution_place
from taskhub.lib.cancellation import cancel_all
from taskhub.lib.wakeup import Wakeup
from taskhub.models import Execution, ExecutionStatus
from taskhub.services import execution_leases, executions
from taskhub.services.executions import Outcome
from taskhub.services.file_changes import file_changes_tell
from taskhub.web.thread_pool import with_database
from taskhub.worker.followed_log import FollowedLog
from taskhub.worker.kept_files import KeptFiles
from taskhub.worker.outcomes import (
    outcome_of_dead_runner,
    outcome_of_end,
    outcome_of_error,
    outcome_of_lost_sandbox,
    outcome_of_open_network,
    outcome_of_stop,
)
from taskhub.worker.preparation import EARLY, Lost, Preparation, deadline_of
from taskhub.worker.runner_watch import RunnerWatch

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_S: Final = 5.0
"""How often the runner's lock is looked at: at most one request in this time."""
CHANGES_S: Final = 1.0
RETRY_S: Final = 5.0
UNREACHABLE_S: Final = 600.0
"""Past its deadline for this long with a sandbox service that does not answer, an execution is lost."""
LAST_WORD_S: Final = 4.0
"""A runner that has ended has said so once its log has been silent for so long."""


class Following:
    """One running execution in the hands of the caller, who holds its lease."""

    def __init__(self, execution: Execution, *, is_first: bool = False) -> None:
        """`is_first`: no other worker has followed it before."""
        self.execution = execution
        self.place = execution_place(execution)
        self.moved = Wakeup()
        self.end: ScriptEnd | None = None
        self.is_gone = False
        """Set when its sandbox is known to be gone."""
        self.is_settling = False
        """Log and files are being stored."""
        self._executor = get_executor()
        self._preparation = Preparation(execution, self.place, self._executor, is_first=is_first)
        self._log = FollowedLog(execution, self.place, self._executor, self._hear, self.moved, is_first=is_first)
        self._changes = execution.files_seen
        self._watch = RunnerWatch()
        self._files = KeptFiles(execution, self.place, self._executor)
        self._look_at = time.monotonic() + LOOK_S
        self._changes_at = 0.0
        self._deadline = deadline_of(execution, is_first=is_first)

    async def run(self) -> None:
        """Until it has ended, and the row says so. Raises Lost."""
        try:
            outcome = None
            while outcome is None:
                try:
                    outcome = await self._until_settled()
                    await self.finish(outcome)
                except ExecutorError as error:
                    outcome = await self._give_up(error)
        finally:
            await self._log.close()

    async def settle(self) -> None:
        """Settle it now, if it has ended or is to be ended; else let it go on. Raises Lost."""
        try:
            outcome = await self._settled_now()
            if outcome is not None:
                await self.finish(outcome)
                return
        except ExecutorError as error:
            log.warning("execution %s cannot be settled yet: %s", self.execution.pk, error.code)
            if self._is_final(error):
                await self.finish(outcome_of_error(error))
                return
        finally:
            await self._log.close()
        await with_database(execution_leases.execution_postpone, execution=self.execution, retry_s=RETRY_S)

    async def _settled_now(self) -> Outcome | None:
        (seen,) = await self._executor.observe([self.place])
        if seen.state == "gone":
            return outcome_of_lost_sandbox(self.execution, seen)
        if seen.state == "ended":
            await self._log.rest()
            await self._note_preparation()
            if self.end is not None:
                return outcome_of_end(self.execution, self.end)
            return await self._without_mark() if self._log.is_over() else None
        return await self._stop() if self._is_to_end() else None

    async def _until_settled(self) -> Outcome:
        """Raises ExecutorError: what it says is true now, and may be over soon."""
        while True:
            reader = self._log.start()
            if (outcome := await self._prepared()) is not None:
                return outcome
            if self.end is not None:
                return outcome_of_end(self.execution, self.end)
            if self.is_gone:
                return await self._lost()
            if self._is_to_end():
                return await self._stop()
            if self._has_failed(reader) and (outcome := await self._without_mark()) is not None:
                return outcome
            if (outcome := await self._look_or_wait()) is not None:
                return outcome

    def _has_failed(self, reader: asyncio.Task[None]) -> bool:
        """The reading of the log is over, and neither given up nor put off."""
        return reader.done() and not self._log.is_lost and self._log.again_in_s == math.inf

    async def _lost(self) -> Outcome:
        """Its sandbox is known to be gone; the service may also know why."""
        (seen,) = await self._executor.observe([self.place])
        return outcome_of_lost_sandbox(self.execution, seen)

    async def _look_or_wait(self) -> Outcome | None:
        if time.monotonic() >= self._look_at:
            return await self._look()
        if self._changes > self.execution.files_seen and time.monotonic() >= self._changes_at:
            await self._tell_changes()
        else:
            # Nothing is awaited between the checks before and this: no signal is missed.
            await self._wait()
        return None

    async def _unless_it_ends(self, asking: Coroutine[Any, Any, T]) -> T | None:
        """What is asked of the sandbox; None where the execution ends meanwhile, which waits for no answer."""
        task = asyncio.create_task(asking)
        task.add_done_callback(lambda _: self.moved.send())
        try:
            while not task.done() and self.end is None and not self.is_gone and not self._is_to_end():
                await self._wait_until(LOOK_S)
            return task.result() if task.done() else None
        finally:
            await cancel_all(task)

    async def _give_up(self, error: ExecutorError) -> Outcome | None:
        """None: it is tried again, after a while. What it has printed so far is kept either way."""
        log.warning("execution %s cannot be settled yet: %s", self.execution.pk, error.code)
        if self._is_final(error):
            self._files.give_up()
            known = outcome_of_end(self.execution, self.end) if self.end is not None else None
            outcome = known or outcome_of_error(error)
            await self.finish(outcome)
            return outcome
        self._log.read_again()
        await asyncio.sleep(RETRY_S)
        return None

    def _is_final(self, error: ExecutorError) -> bool:
        """A permanent error, unless the script can bring it about; or silence long after it was to end."""
        if not error.may_pass and not error.is_inside:
            return True
        asked_at = self.execution.stop_requested_at
        since_stop_s = (timezone.now() - asked_at).total_seconds() if asked_at is not None else 0.0
        return max(time.monotonic() - self._deadline, since_stop_s) > UNREACHABLE_S

    def _is_to_end(self) -> bool:
        return self.execution.stop_requested_at is not None or time.monotonic() > self._deadline

    async def _wait(self) -> None:
        """Until something was heard, or something is due."""
        now = time.monotonic()
        due = [self._look_at - now, self._preparation.due_s, self._log.again_in_s]
        if self._changes > self.execution.files_seen:
            due.append(self._changes_at - now)
        await self._wait_until(min(due))

    async def _wait_until(self, due_s: float) -> None:
        """Until something was heard, in so many seconds, or at the time limit."""
        due_s = min(due_s, self._deadline - time.monotonic())
        try:
            async with asyncio.timeout(max(0.0, due_s) + 0.001):
                await self.moved.wait()
        except TimeoutError:
            return

    # What the log says.

    def _hear(self, sign: Sign) -> None:
        if isinstance(sign, ScriptEnd):
            self.end = sign
            self._changes = max(self._changes, sign.changes)
            self.moved.send()
        elif isinstance(sign, FilesChanged) and sign.upto > self._changes and not self.execution.is_verification:
            self._changes = sign.upto
            self.moved.send()
        elif self._preparation.hear(sign):
            self.moved.send()

    # What comes before the script.

    async def _note_preparation(self) -> None:
        """Raises Lost."""
        if self.execution.is_set_up:
            await self._preparation.note()
            self._deadline = deadline_of(self.execution)

    async def _prepared(self) -> Outcome | None:
        """The end of an execution whose network cannot be closed, or whose script did not wait for it. Raises Lost."""
        await self._note_preparation()
        refusal = EARLY if self._preparation.began_too_early else None
        if refusal is None:
            if self._preparation.due_s > 0 or self.end is not None or self.is_gone or self._is_to_end():
                return None
            try:
                await self._unless_it_ends(self._preparation.close_network())
            except ExecutorError as error:
                refusal = error
            else:
                return await self._prepared()
        stopped = await self._climb(runner_is_dead=False)
        return outcome_of_open_network(outcome_of_stop(self.execution, stopped), refusal)

    async def _without_mark(self) -> Outcome | None:
        """The log has ended, and the runner has not said how the script did. Raises ExecutorError."""
        error = self._log.start().exception()
        (seen,) = await self._executor.observe([self.place])
        if seen.state == "gone":
            return outcome_of_lost_sandbox(self.execution, seen)
        if isinstance(error, ExecutorError) and error.is_inside:
            # Its script has deleted or locked it, say. It runs on all the same, and is looked at.
            log.warning("the log of execution %s cannot be read: %s", self.execution.pk, error.code)
            is_gone = error.code.endswith("_not_found")
            if seen.state != "ended":
                self._log.put_off(is_gone=is_gone)
                return None
            self._log.lose(is_gone=is_gone)
            return await self._end_remains()
        if error is not None:
            raise error
        if self.place.log_token or seen.exit_code is None:
            return await self._end_remains()
        # Started by a release whose runner says nothing: its exit code is the command's.
        self.end = ScriptEnd(seen.exit_code, files=1)
        return outcome_of_end(self.execution, self.end)

    # A runner that has died.

    async def _look(self) -> Outcome | None:
        self._look_at = time.monotonic() + LOOK_S
        try:
            state = await self._unless_it_ends(self._executor.runner_state(self.place))
        except ExecutorError as error:
            log.info("execution %s cannot be looked at: %s", self.execution.pk, error.code)
            if error.permanent:
                (seen,) = await self._executor.observe([self.place])
                self.is_gone = seen.state == "gone"
            return await self._lost() if self.is_gone else None
        if state is None:
            return None
        if not self.place.log_token:
            self._changes = self.execution.files_seen + 1  # no mark reports changes: they are polled
            return None
        if not self._watch.says_dead(state):
            return None
        # It may have ended well just now, and its last word be on the way.
        if await self._last_word_comes():
            return outcome_of_end(self.execution, self.end) if self.end is not None else None
        return await self._end_remains()

    async def _last_word_comes(self) -> bool:
        """False if the log is over without it, or silent for `LAST_WORD_S`."""
        # Only the log of a command that has ended has an end, though it may be long in coming after much output.
        reader = self._log.start()
        (seen,) = await self._executor.observe([self.place])
        while not self._is_to_end():
            heard = self._log.batches
            await asyncio.wait([reader], timeout=LAST_WORD_S)
            if self.end is not None:
                return True
            if seen.state != "ended" or reader.done() or self._log.batches == heard:
                return False
        return True

    async def _end_remains(self) -> Outcome:
        """Whatever its script left is ended."""
        log.warning("the runner of execution %s has died", self.execution.pk)
        stopped = await self._climb(runner_is_dead=True)
        if stopped.end is not None and stopped.by != "mark":
            # The log had not brought it: it did say how the script ended.
            self.end = stopped.end
            return outcome_of_end(self.execution, stopped.end)
        is_lost = self._log.is_unread and self._watch.has_begun
        return outcome_of_dead_runner(self.execution, stopped, has_begun=self._watch.has_begun, log_is_lost=is_lost)

    # A stop, or the time limit.

    async def _stop(self) -> Outcome:
        """End the script, without its help if need be. Raises Lost; ExecutorError."""
        execution = self.execution
        ending = ExecutionStatus.STOPPED if execution.stop_requested_at is not None else ExecutionStatus.TIMED_OUT
        # Before the first signal: should this worker die now, the next one knows why the script has ended.
        if not execution.ending and not await with_database(
            executions.execution_mark_ending, execution=execution, ending=ending
        ):
            raise Lost
        outcome = outcome_of_stop(execution, await self._climb(runner_is_dead=False))
        refusal = self._preparation.refusal if self._preparation.wants_lock else None
        return outcome if refusal is None else outcome_of_open_network(outcome, refusal)

    async def _climb(self, *, runner_is_dead: bool) -> Stopped:
        ended = (lambda: self.end) if self._log.is_followed else None
        stopped = await self._executor.stop(self.place, ended=ended, runner_is_dead=runner_is_dead)
        if stopped.is_silent and self.execution.requested_sandbox_id:
            # In a sandbox that is not ours this may be no more than a network that is away.
            raise ExecutorError("sandbox_silent", "Nothing in its sandbox answers.", permanent=False)
        if stopped.log is not None:
            self._log.add_whole(stopped.log)
        elif stopped.by not in {"session", "sandbox"} and self.end is None:
            await self._log.rest()
        if self.end is None:
            self.end = stopped.end
        return stopped

    async def _tell_changes(self) -> None:
        self._changes_at = time.monotonic() + CHANGES_S
        asking = artifact_collector.changes_after(self._executor, self.place, self.execution.files_seen)
        changes = await self._unless_it_ends(asking)
        if changes is not None:
            await with_database(file_changes_tell, execution=self.execution, changes=changes)
        self._changes = max(self.execution.files_seen, self._changes if self.place.log_token else 0)

    # The end.

    async def finish(self, outcome: Outcome) -> None:
        """Store log and files, and say how it ended. Raises Lost."""
        self.is_settling = True
        try:
            await self._note_preparation()
            await self._finish(outcome)
        finally:
            self.is_settling = False

    async def _finish(self, outcome: Outcome) -> None:
        kept = await self._files.keep(self.end) if outcome.status != ExecutionStatus.LOST else None
        if self.end is None and self._log.is_unread and outcome.status != ExecutionStatus.LOST:
            self._log.lose()
        archived = await self._log.store() if self._log.lines or outcome.status != ExecutionStatus.LOST else None
        ended: dict[str, Any] = {"outcome": outcome, "archived": archived, "kept": kept, "log_tail": self._log.tail}
        if not await with_database(executions.execution_finish, execution=self.execution, **ended):
            raise Lost
        log.info("execution %s has ended: %s", self.execution.pk, outcome.status.value)
