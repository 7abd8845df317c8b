"""What the hub learns of the sandbox service's capacity from its refusals.

When the service refuses a sandbox because the account is full, the number of sandboxes of ours becomes the ceiling; up
to it starts go on as sandboxes are deleted, beyond it one is tried at a time, after a pause that doubles up to a
minute. A try that succeeds raises the ceiling. A service that asks for fewer requests teaches no ceiling: nothing
starts for so long. In both cases the refused execution returns to the queue, and no attempt is counted.

Who may start within the ceiling: `services/admission.py`.
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

from taskhub.models import AdmissionState, AdmissionTurn, Execution, ExecutionStatus, WaitingReason
from taskhub.services.dispatch import EXECUTIONS_ADMIT, EXECUTIONS_RELEASE, send_job_on_commit
from taskhub.services.executions import execution_return_to_queue, execution_tell_waiting

log = logging.getLogger(__name__)

RETRY_FIRST_S: Final = 5.0
RETRY_MOST_S: Final = 60.0
THROTTLED_MOST: Final = timedelta(hours=1)
"""The longest that a throttled service is left alone, whatever it asks for, and after a wall clock was set back."""
STARTED: Final = (ExecutionStatus.STARTING, ExecutionStatus.RUNNING)


class Needing(Protocol):
    """An execution, or a row of the queue."""

    @property
    def requested_sandbox_id(self) -> str: ...

    @property
    def waiting_reason(self) -> str: ...


def needs_capacity(execution: Needing) -> bool:
    """It makes a sandbox; or the one that it asked for is stopped, and was refused its start."""
    return not execution.requested_sandbox_id or execution.waiting_reason == WaitingReason.CAPACITY


def held_sandboxes() -> int:
    """The sandboxes that executions have made, or are making, and that are not given back yet."""
    made = Execution.objects.filter(requested_sandbox_id="", released_at__isnull=True)
    return made.filter(Q(status__in=STARTED) | Q(finished_at__isnull=False, attempts__gt=0)).count()


def made_sandboxes() -> int:
    """Of these, those that the service is known to have made."""
    return Execution.objects.filter(requested_sandbox_id="", released_at__isnull=True).exclude(sandbox_id="").count()


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
def admission_note_full(*, execution: Execution) -> None:
    """The service refused it a sandbox: the account is full. It goes back to the queue; no attempt is counted."""
    state = lock_state()
    now = timezone.now()
    if not execution_return_to_queue(execution=execution):
        return
    _give_back_turns([execution.account])
    if state.ceiling is None or state.trying == execution.pk:
        # Of those that were under way together the first counts: the others learn nothing more.
        pause_s = min(RETRY_MOST_S, RETRY_FIRST_S * 2**state.refusals)
        state.refusals = min(state.refusals + 1, 10)
        state.retry_at = now + timedelta(seconds=pause_s * random.uniform(0.5, 1))  # noqa: S311 - jitter, not secrecy
        state.trying = None
    state.ceiling, state.ceiling_at = made_sandboxes(), now
    state.save()
    execution_tell_waiting(execution=execution, reason=WaitingReason.CAPACITY)
    _take_back()
    send_job_on_commit(EXECUTIONS_RELEASE)
    log.warning("the sandbox service is full; execution %s waits, %d sandboxes are ours", execution.pk, state.ceiling)


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
    made = made_sandboxes()
    if state.ceiling is not None and made > state.ceiling:
        state.ceiling, state.ceiling_at = made, timezone.now()
        state.refusals, state.retry_at, state.trying = 0, None, None
        state.save()
        send_job_on_commit(EXECUTIONS_ADMIT)


def _give_back_turns(accounts: Iterable[str]) -> None:
    """An account that got no start, as often as it is named, is as far ahead in the queue as before."""
    for account, times in Counter(accounts).items():
        row = AdmissionTurn.objects.filter(pk=account).first()
        if row is not None:
            row.recent = row.recent[:-times]
            row.turn = row.recent[-1] if row.recent else 0
            row.save()
