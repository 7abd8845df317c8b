"""What the hub learns of the sandbox service's capacity from its refusals.

When the service refuses a sandbox because the account is full, it mostly says of what: CPUs, memory or disk. What our
sandboxes have of it, with what was refused, is too much, and so is more than the limit that the service names: the
ceiling is the most that is left. Where it does not say of what, the number of our sandboxes becomes the ceiling. Up to
it starts go on as sandboxes are deleted, beyond it one is tried at a time, after a pause that doubles up to a minute. A
try that succeeds raises the ceiling. A service that asks for fewer requests teaches no ceiling: nothing starts for so
long. In both cases the refused execution returns to the queue, and no attempt is counted.

Which executions may start within the ceiling: `services/sandbox_room.py`.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Final, Protocol

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from taskhub.models import (
    RESOURCES,
    AdmissionState,
    AdmissionTurn,
    Execution,
    ExecutionStatus,
    Lack,
    SandboxSize,
    WaitingReason,
)
from taskhub.services.dispatch import EXECUTIONS_ADMIT, EXECUTIONS_RELEASE, send_job_on_commit
from taskhub.services.executions import (
    Outcome,
    execution_finish,
    execution_return_to_queue,
    execution_tell_waiting,
)
from taskhub.services.sandbox_sizes import WORDS, Together, made_sandboxes, size_note, size_of

log = logging.getLogger(__name__)

RETRY_FIRST_S: Final = 5.0
RETRY_MOST_S: Final = 60.0
THROTTLED_MOST: Final = timedelta(hours=1)
"""The longest that a throttled service is left alone, whatever it asks for, and after a wall clock was set back."""
NEVER_CODE: Final = "capacity_never"


class Needing(Protocol):
    """An execution, or a row of the queue."""

    @property
    def requested_sandbox_id(self) -> str: ...

    @property
    def waiting_reason(self) -> str: ...


def needs_capacity(execution: Needing) -> bool:
    """It makes a sandbox; or the one that it asked for is stopped, and was refused its start."""
    return not execution.requested_sandbox_id or execution.waiting_reason == WaitingReason.CAPACITY


def is_bounded(state: AdmissionState) -> bool:
    """The service was found to be full, or asked for fewer requests."""
    return state.ceiling is not None or state.throttled_until is not None


def unbegun() -> QuerySet[Execution]:
    """Admitted, and not taken up by any worker; one whose worker died may have a sandbox already."""
    return Execution.objects.filter(status=ExecutionStatus.STARTING, lease_until__isnull=True, attempts=0)


def lock_state() -> AdmissionState:
    state = AdmissionState.objects.select_for_update().filter(pk=1).first()
    if state is None:
        AdmissionState.objects.bulk_create([AdmissionState()], ignore_conflicts=True)
        state = AdmissionState.objects.select_for_update().get(pk=1)
    return state


@transaction.atomic
def admission_note_full(*, execution: Execution, lack: Lack | None = None) -> None:
    """The service refused it a sandbox: the account is full. It goes back to the queue; no attempt is counted.

    One that needs more than the service lets the whole account have fails.
    """
    state = lock_state()
    now = timezone.now()
    if lack is not None and lack.most is not None and getattr(size_of(execution), lack.resource) > lack.most:
        words = f"The sandbox service does not let this hub's account have as many {WORDS[lack.resource]} at all."
        execution_finish(execution=execution, outcome=never(words))
        return
    if not execution_return_to_queue(execution=execution):
        return
    _give_back_turns([execution.account])
    if state.ceiling is None or state.trying == execution.pk:
        # Of those that were under way together the first counts: the others learn nothing more.
        pause_s = min(RETRY_MOST_S, RETRY_FIRST_S * 2**state.refusals)
        state.refusals = min(state.refusals + 1, 10)
        state.retry_at = now + timedelta(seconds=pause_s * random.uniform(0.5, 1))  # noqa: S311 - jitter, not secrecy
        state.trying = None
    made = made_sandboxes()
    state.ceiling, state.ceiling_at = made.sandboxes, now
    _learn(state, lack, made, size_of(execution))
    state.save()
    execution_tell_waiting(execution=execution, reason=WaitingReason.CAPACITY)
    _take_back()
    send_job_on_commit(EXECUTIONS_RELEASE)
    log.warning("the sandbox service is full; execution %s waits, %d sandboxes are ours", execution.pk, state.ceiling)


def _learn(state: AdmissionState, lack: Lack | None, made: Together, refused: SandboxSize) -> None:
    if lack is None:
        forget_sums(state)
        return
    name = f"{lack.resource}_ceiling"
    too_much = getattr(made.size, lack.resource) + getattr(refused, lack.resource)
    known = [ceiling for ceiling in (getattr(state, name), lack.most) if ceiling is not None]
    setattr(state, name, min(too_much - 1, *known))


def forget_sums(state: AdmissionState) -> None:
    state.cpu_ceiling = state.memory_ceiling = state.disk_ceiling = None


def never(words: str) -> Outcome:
    """The end of an execution that no wait helps."""
    return Outcome(ExecutionStatus.FAILED, error_code=NEVER_CODE, error_message=words)


def _take_back() -> None:
    """starting → queued for those that no worker has begun to start: where no ceiling was known all were admitted, and
    each would be refused, and start out of turn. The next look admits them anew, and tells why they wait.
    """
    needs_room = Q(requested_sandbox_id="") | Q(waiting_reason=WaitingReason.CAPACITY)
    found = dict(unbegun().filter(needs_room).select_for_update().values_list("pk", "account"))
    Execution.objects.filter(pk__in=found).update(status=ExecutionStatus.QUEUED, fence=F("fence") + 1)
    _give_back_turns(found.values())


@transaction.atomic
def admission_note_throttled(*, execution: Execution, retry_after_s: float) -> None:
    """The service asks for fewer requests: nothing starts for so long. No ceiling is learnt, no attempt counted."""
    state = lock_state()
    if not execution_return_to_queue(execution=execution):
        return
    _give_back_turns([execution.account])
    until = timezone.now() + timedelta(seconds=min(retry_after_s, THROTTLED_MOST.total_seconds()))
    state.throttled_until = max(filter(None, (state.throttled_until, until)))
    state.save()
    execution_tell_waiting(execution=execution, reason=WaitingReason.CAPACITY)
    _take_back()


@transaction.atomic
def admission_note_started() -> None:
    """A start succeeded: if there are more sandboxes now than the ceiling says, it is raised, and the next is tried."""
    if not AdmissionState.objects.filter(pk=1, ceiling__isnull=False).exists():
        return
    state = lock_state()
    if state.ceiling is None:
        return
    made, before = made_sandboxes(), state.ceiling
    is_raised = _raise(state, made)
    state.ceiling = max(before, made.sandboxes)
    if is_raised:
        state.ceiling_at = timezone.now()
        state.refusals, state.retry_at, state.trying = 0, None, None
        send_job_on_commit(EXECUTIONS_ADMIT)
    if is_raised or state.ceiling > before:
        state.save()


def _raise(state: AdmissionState, made: Together) -> bool:
    """Whether there is more than what bounds starts: the sums, where one is known, else the number of sandboxes."""
    sums = {f"{name}_ceiling": getattr(made.size, name) for name in RESOURCES}
    known = {name: amount for name, amount in sums.items() if getattr(state, name) is not None}
    bounding = known or {"ceiling": made.sandboxes}
    higher = {name: amount for name, amount in bounding.items() if amount > getattr(state, name)}
    for name, amount in higher.items():
        setattr(state, name, amount)
    return bool(higher)


@transaction.atomic
def admission_note_size(*, execution: Execution, size: SandboxSize) -> None:
    """Its sandbox turned out to have another size than was expected."""
    lock_state()  # admission writes to rows of the queue, too
    size_note(execution=execution, size=size)


def _give_back_turns(accounts: Iterable[str]) -> None:
    """An account that got no start, as often as it is named, is as far ahead in the queue as before."""
    for account, times in Counter(accounts).items():
        row = AdmissionTurn.objects.filter(pk=account).first()
        if row is not None:
            row.recent = row.recent[:-times]
            row.turn = row.recent[-1] if row.recent else 0
            row.save()
