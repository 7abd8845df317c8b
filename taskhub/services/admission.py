"""Admission: which queued executions may start now, within limits, pauses and the sandbox service's capacity.

Every look locks the one row of `AdmissionState`, so two workers never admit the same place twice. It

1. reads who is queued, in the order of `selectors.admission.queue`, what runs, and which sandboxes of ours there are;
2. admits (queued → starting) as far as the hub's limit, the account's limit and the capacity allow;
3. publishes for each that is left behind why it waits, if that is new.

While no ceiling is known, few starts are under way at a time, in this order: if the service turns out to be full, those
that have started are those whose turn it was.

The capacity is learnt. When the service refuses a sandbox because the account is full, the number of sandboxes of ours
becomes the ceiling; up to it starts go on as sandboxes go, beyond it one is tried at a time, after a pause that doubles
up to a minute. A try that succeeds raises the ceiling; one that nothing has confirmed for ten minutes is forgotten.
"""

from __future__ import annotations

import logging
import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from taskhub.auth.actor import Actor
from taskhub.errors import Conflict
from taskhub.lib.leases import watch
from taskhub.lib.timestamps import iso
from taskhub.models import (
    HUB,
    AdmissionRule,
    AdmissionState,
    AdmissionTurn,
    Execution,
    ExecutionStatus,
    WaitingReason,
)
from taskhub.selectors.admission import admission_rules, queue
from taskhub.services.audit import audit_write
from taskhub.services.dispatch import EXECUTIONS_ADMIT, EXECUTIONS_RELEASE, send_job_on_commit
from taskhub.services.executions import (
    Outcome,
    execution_finish,
    execution_return_to_queue,
    execution_tell_waiting,
)

log = logging.getLogger(__name__)

RETRY_FIRST_S: Final = 5.0
RETRY_MOST_S: Final = 60.0
CEILING_HOLDS: Final = timedelta(minutes=10)
UNDER_WAY: Final = 16
"""Starts at a time while no ceiling is known. More follow when half of them are done."""
OUT_OF_ORDER: Final = UNDER_WAY // 2
"""How many an execution may overtake that were admitted before it."""
RECENT_TURNS: Final = 2 * UNDER_WAY
UNDER_WAY_FOR: Final = timedelta(seconds=10)
"""A start that takes longer, or whose worker has died, does not hold up the next one."""
TRY_TAKES: Final = timedelta(minutes=2)
"""A try that has not come to its end by then does not hold up the next one."""
THROTTLED_MOST: Final = timedelta(hours=1)
"""The longest that a throttled service is left alone, whatever it asks for, and after a wall clock was set back."""
AT_ONCE_LIMIT: Final = 1_000_000
NEVER_CODE: Final = "capacity_never"
_ACTIVE: Final = (ExecutionStatus.STARTING, ExecutionStatus.RUNNING)


class _Room:
    """What may still be admitted in one look."""

    def __init__(self, state: AdmissionState, now: datetime) -> None:
        self._rules = admission_rules()
        self._now = now
        active = Execution.objects.filter(status__in=_ACTIVE).order_by().values_list("account", flat=True)
        self._active_of = Counter(active)
        self.held = held_sandboxes()
        self._hub_limit = self._limit(HUB, settings.TASKHUB_EXECUTIONS_AT_ONCE)
        self.is_try = False
        self._sandboxes = self._sandboxes_left(state)
        self._turns = UNDER_WAY - starts_under_way(now)

    def _limit(self, account: str, setting: int) -> int | None:
        rule = self._rules.get(account)
        return rule.at_once if rule is not None and rule.at_once is not None else setting or None

    def _sandboxes_left(self, state: AdmissionState) -> int | None:
        """How many more sandboxes may be made now; None where nothing is known to forbid it."""
        if _is_ahead(state, "throttled_until", THROTTLED_MOST):
            return 0
        if state.ceiling is None:
            return None
        left = max(0, state.ceiling - self.held)
        self.is_try = not left and not _is_ahead(state, "retry_at", TRY_TAKES)
        return 1 if self.is_try else left

    def _is_paused(self, account: str) -> bool:
        rule = self._rules.get(account)
        return rule is not None and rule.is_paused(self._now)

    def reason_for(self, execution: Execution) -> WaitingReason | None:
        """None: it may start."""
        if self._is_paused(HUB) or self._is_paused(execution.account):
            return WaitingReason.PAUSED
        of_account = self._limit(execution.account, settings.TASKHUB_EXECUTIONS_AT_ONCE_PER_ACCOUNT)
        if self._hub_limit is not None and self._active_of.total() >= self._hub_limit:
            return WaitingReason.LIMIT
        if execution.account and of_account is not None and self._active_of[execution.account] >= of_account:
            return WaitingReason.LIMIT
        if self._sandboxes is not None and self._sandboxes <= 0 and needs_capacity(execution):
            return WaitingReason.CAPACITY
        return None

    def is_turn_of(self, execution: Execution) -> bool:
        """False for one that may start as soon as those before it have."""
        if self._sandboxes is not None or not needs_capacity(execution):
            return True
        self._turns -= 1
        return self._turns >= 0

    def take(self, execution: Execution) -> bool:
        """Count an admission; True where it is the one that is tried beyond the ceiling."""
        self._active_of[execution.account] += 1
        if self._sandboxes is None or not needs_capacity(execution):
            return False
        self._sandboxes -= 1
        return self.is_try


def _is_ahead(state: AdmissionState, field: str, at_most: timedelta) -> bool:
    """Whether this moment of the state is still to come; by the monotonic clock (`taskhub.lib.leases`)."""
    moment: datetime | None = getattr(state, field)
    return moment is not None and not watch.moment_is_past(("admission", field), moment, at_most)


def _is_over(what: str, since: datetime | None, length: timedelta) -> bool:
    return since is not None and watch.moment_is_past(("admission", what), since + length, length)


def needs_capacity(execution: Execution) -> bool:
    """It makes a sandbox; or the one that it asked for is stopped, and was refused its start."""
    return not execution.requested_sandbox_id or execution.waiting_reason == WaitingReason.CAPACITY


def held_sandboxes() -> int:
    """The sandboxes that executions have made, or are making, and that are not given back yet."""
    made = Execution.objects.filter(requested_sandbox_id="", released_at__isnull=True)
    return made.filter(Q(status__in=_ACTIVE) | Q(finished_at__isnull=False, attempts__gt=0)).count()


def made_sandboxes() -> int:
    """Of these, those that the service is known to have made."""
    return Execution.objects.filter(requested_sandbox_id="", released_at__isnull=True).exclude(sandbox_id="").count()


def starts_under_way(now: datetime) -> int:
    """The starts that make a sandbox and have begun just now."""
    made = Execution.objects.filter(status=ExecutionStatus.STARTING, requested_sandbox_id="")
    return made.filter(admitted_at__gt=now - UNDER_WAY_FOR).count()


def is_due(execution_id: UUID) -> bool:
    """Whether few of those that were admitted earlier have yet to begin: their jobs are on the way.

    Jobs come late and in any order where workers are busy; without this, the order of admission would be lost there.
    """
    admitted_at = Execution.objects.filter(pk=execution_id).values_list("admitted_at", flat=True).first()
    if admitted_at is None:
        return True
    before = _unbegun().filter(requested_sandbox_id="", admitted_at__lt=admitted_at)
    return before.count() < OUT_OF_ORDER


def _unbegun() -> QuerySet[Execution]:
    """Admitted, and not taken up by any worker; one whose worker died may have a sandbox already."""
    return Execution.objects.filter(status=ExecutionStatus.STARTING, lease_until__isnull=True, attempts=0)


def more_may_start() -> bool:
    """Whether executions are queued and few starts are under way: asked when one has started."""
    queued = Execution.objects.filter(status=ExecutionStatus.QUEUED, waiting_reason="")
    return queued.exists() and starts_under_way(timezone.now()) <= UNDER_WAY // 2


def executions_admit() -> list[UUID]:
    """Admit those that may start now; returns their ids. Their jobs are to be sent by the caller, after the commit."""
    if not Execution.objects.filter(status=ExecutionStatus.QUEUED).exists():
        return []
    with transaction.atomic():
        return _admit()


def _admit() -> list[UUID]:
    state = _lock_state()
    now = timezone.now()
    if state.ceiling is not None and _is_over("ceiling", state.ceiling_at, CEILING_HOLDS):
        state.ceiling = state.retry_at = None
        state.refusals = 0
    room = _Room(state, now)
    if room.held:
        state.held_at = now
    admitted: list[Execution] = []
    waiting: list[tuple[Execution, WaitingReason]] = []
    for execution in queue().select_related("task").defer("script", "env"):
        if execution.stop_requested_at is not None:
            execution_finish(execution=execution, outcome=Outcome(ExecutionStatus.STOPPED))
        elif reason := room.reason_for(execution):
            waiting.append((execution, reason))
        elif room.is_turn_of(execution):
            admitted.append(execution)
            if room.take(execution):
                state.trying, state.retry_at = execution.pk, now + TRY_TAKES
    _start(state, admitted, now)
    _tell(state, waiting, room.held, now)
    state.save()
    return [execution.pk for execution in admitted]


def _tell(state: AdmissionState, waiting: list[tuple[Execution, WaitingReason]], held: int, now: datetime) -> None:
    for position, (execution, reason) in enumerate(waiting, start=1):
        if reason == WaitingReason.CAPACITY and _can_never(execution, state, held, now):
            execution_finish(execution=execution, outcome=_never())
        else:
            execution_tell_waiting(execution=execution, reason=reason, position=position)


def _lock_state() -> AdmissionState:
    state = AdmissionState.objects.select_for_update().filter(pk=1).first()
    if state is None:
        AdmissionState.objects.bulk_create([AdmissionState()], ignore_conflicts=True)
        state = AdmissionState.objects.select_for_update().get(pk=1)
    return state


def _start(state: AdmissionState, admitted: list[Execution], now: datetime) -> None:
    """queued → starting; a start job takes the lease. The accounts go behind all others."""
    for number, execution in enumerate(admitted):
        # Each has a time of its own: that is the order in which they are due.
        Execution.objects.filter(pk=execution.pk, status=ExecutionStatus.QUEUED).update(
            status=ExecutionStatus.STARTING,
            admitted_at=now + timedelta(microseconds=number),
            lease_until=None,
            fence=F("fence") + 1,
        )
    accounts = {execution.account for execution in admitted}
    recent: dict[str, list[int]] = defaultdict(list)
    recent.update(AdmissionTurn.objects.filter(pk__in=accounts).values_list("account", "recent"))
    for execution in admitted:
        state.turn += 1
        recent[execution.account].append(state.turn)
    AdmissionTurn.objects.bulk_create(
        [AdmissionTurn(account=each, turn=recent[each][-1], recent=recent[each][-RECENT_TURNS:]) for each in accounts],
        update_conflicts=True,
        unique_fields=["account"],
        update_fields=["turn", "recent"],
    )


def _give_back_turns(accounts: Iterable[str]) -> None:
    """An account that got no start, as often as it is named, is as far ahead in the queue as before."""
    for account, times in Counter(accounts).items():
        row = AdmissionTurn.objects.filter(pk=account).first()
        if row is not None:
            row.recent = row.recent[:-times]
            row.turn = row.recent[-1] if row.recent else 0
            row.save()


def _can_never(execution: Execution, state: AdmissionState, held: int, now: datetime) -> bool:
    """Full for so long, and nothing of ours that could give way."""
    since = max(filter(None, (execution.waiting_since, state.held_at)), default=now)
    return not held and _is_over(f"wait {execution.pk}", since, timedelta(seconds=settings.TASKHUB_EXECUTION_WAIT_S))


def _never() -> Outcome:
    hours = settings.TASKHUB_EXECUTION_WAIT_S / 3600
    return Outcome(
        ExecutionStatus.FAILED,
        error_code=NEVER_CODE,
        error_message=f"The sandbox service was full for {hours:g} h while this hub had no sandbox there.",
    )


@transaction.atomic
def admission_note_full(*, execution: Execution) -> None:
    """The service refused it a sandbox: the account is full. It goes back to the queue; no attempt is counted."""
    state = _lock_state()
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
    found = dict(_unbegun().filter(needs_room).select_for_update().values_list("pk", "account"))
    Execution.objects.filter(pk__in=found).update(status=ExecutionStatus.QUEUED, fence=F("fence") + 1)
    _give_back_turns(found.values())


@transaction.atomic
def admission_note_throttled(*, execution: Execution, retry_after_s: float) -> None:
    """The service asks for fewer requests: nothing starts for so long. No ceiling is learnt, no attempt counted."""
    state = _lock_state()
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
    state = _lock_state()
    made = made_sandboxes()
    if state.ceiling is not None and made > state.ceiling:
        state.ceiling, state.ceiling_at = made, timezone.now()
        state.refusals, state.retry_at, state.trying = 0, None, None
        state.save()
        send_job_on_commit(EXECUTIONS_ADMIT)


@transaction.atomic
def admission_rule_set(
    *,
    actor: Actor,
    account: str = HUB,
    at_once: int | None = None,
    paused: bool = False,
    paused_until: datetime | None = None,
) -> AdmissionRule:
    """Set the limit and the pause of the hub, or of an account; what runs goes on.

    `paused_until` counts only with `paused`. Raises Conflict for an end that has passed.
    """
    if not paused:
        paused_until = None
    if paused_until is not None and paused_until <= timezone.now():
        # Not a wrong field: a minute ago it was right.
        raise Conflict("The pause would be over already.", code="pause_over")
    rule = AdmissionRule.objects.select_for_update().filter(pk=account).first() or AdmissionRule(account=account)
    before = _said(rule)
    rule.at_once, rule.paused, rule.paused_until, rule.changed_by = at_once, paused, paused_until, actor.name
    rule.save()
    changes = {name: [before[name], value] for name, value in _said(rule).items() if before[name] != value}
    if changes:
        audit_write(
            actor=actor,
            action="admission:set",
            subject="hub" if rule.is_for_hub else f"account:{account}",
            changes=changes,
        )
    send_job_on_commit(EXECUTIONS_ADMIT)
    return rule


def _said(rule: AdmissionRule) -> dict[str, object]:
    until = iso(rule.paused_until) if rule.paused_until else None
    return {"at_once": rule.at_once, "paused": rule.paused, "paused_until": until}
