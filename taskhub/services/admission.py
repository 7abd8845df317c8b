"""Admission: which queued executions may start now, within limits, pauses and the sandbox service's capacity.

Every look locks the one row of `AdmissionState`, so two workers never admit the same place twice. It

1. reads who is queued, in the order of `selectors.admission.queue`, what runs, and which sandboxes of ours there are;
2. admits (queued → starting) as far as the hub's limit, the account's limit and the capacity (`sandbox_room.py`) allow;
3. publishes for each that is left behind why it waits, if that is new.

A start job needs no look where nothing stands in the way of its execution (`execution_standing`): none that could come
first is queued, and no limit, pause or ceiling is known. It takes no turn: no other execution waits for one.

While no ceiling is known, few starts are under way at a time, in this order: if the service turns out to be full, those
that have started are those whose turn it was. How the ceiling is learnt: `services/capacity.py`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import (
    Case,
    DateTimeField,
    Exists,
    F,
    Func,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    UUIDField,
    Value,
    When,
)
from django.utils import timezone

from taskhub.lib.compiled_sql import GIVEN, Lookup
from taskhub.lib.leases import watch
from taskhub.models import (
    HUB,
    TO_START,
    AdmissionRule,
    AdmissionState,
    AdmissionTurn,
    Execution,
    ExecutionStatus,
    WaitingReason,
)
from taskhub.selectors.admission import admission_rules, queue
from taskhub.services.capacity import THROTTLED_MOST, forget_sums, lock_state, needs_capacity, never, unbegun
from taskhub.services.executions import Outcome, execution_finish, execution_tell_waiting
from taskhub.services.sandbox_room import Queued, SandboxRoom
from taskhub.services.sandbox_sizes import STARTED, capacity_limits

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
JOB_TAKES: Final = timedelta(seconds=0.3)
"""The job of an execution that was queued just now is on its way: no look is needed for it."""


def _count(rows: QuerySet[Any]) -> Subquery:
    return Subquery(
        rows.order_by().annotate(n=Func(F("pk"), function="COUNT", output_field=IntegerField())).values("n")
    )


_QUEUED: Final = Execution.objects.filter(status=ExecutionStatus.QUEUED)
_BOUNDED: Final = AdmissionState.objects.filter(Q(ceiling__isnull=False) | Q(throttled_until__isnull=False))
_STANDING: Final = Lookup(
    Execution.objects.filter(pk=GIVEN)
    .order_by()
    .values_list(
        "status",
        "lease_until",
        "waiting_reason",
        "admitted_at",
        Exists(_QUEUED.exclude(pk=OuterRef("pk"))),
        Exists(
            _QUEUED.exclude(pk=OuterRef("pk")).exclude(
                account=OuterRef("account"),
                task__priority=OuterRef("task__priority"),
                queued_at__gt=OuterRef("queued_at"),
            )
        ),
        Exists(AdmissionRule.objects.all()),
        Exists(_BOUNDED),
        _count(Execution.objects.filter(TO_START, requested_sandbox_id="")),
        _count(unbegun().filter(requested_sandbox_id="", admitted_at__lt=OuterRef("admitted_at"))),
    ),
    UUIDField(),
)


class Standing(NamedTuple):
    """An execution among the others, from one statement."""

    status: str
    lease_until: datetime | None
    waiting_reason: str
    admitted_at: datetime | None
    others_are_queued: bool
    others_may_come_first: bool
    """Executions of other accounts, or older ones, or with another priority, are queued: a look says who is next."""
    has_rules: bool
    is_bounded: bool
    """The service was found to be full, or asked for fewer requests."""
    starting: int
    before: int
    """Admitted earlier, and not taken up yet: their jobs are on the way."""

    @property
    def is_due(self) -> bool:
        """Jobs come late and in any order where workers are busy; without this the order of admission is lost."""
        return self.admitted_at is None or self.before < OUT_OF_ORDER

    @property
    def may_start(self) -> bool:
        """It was admitted and is due; or it is queued, and nothing is in its way."""
        if self.lease_until is not None:
            return False
        return self.is_due if self.status == ExecutionStatus.STARTING else self.is_free

    @property
    def is_free(self) -> bool:
        """Queued, and a look at the queue would admit it first of all."""
        in_its_way = self.waiting_reason or self.others_may_come_first or self.has_rules or self.is_bounded
        return self.is_queued and not in_its_way and self.starting < UNDER_WAY and _has_no_limits()

    @property
    def is_queued(self) -> bool:
        return self.status == ExecutionStatus.QUEUED


def execution_standing(execution_id: UUID) -> Standing | None:
    rows = _STANDING.rows(execution_id)
    return Standing(*rows[0]) if rows else None


def _has_no_limits() -> bool:
    at_once = settings.TASKHUB_EXECUTIONS_AT_ONCE or settings.TASKHUB_EXECUTIONS_AT_ONCE_PER_ACCOUNT
    return not at_once and not capacity_limits()


class _Queued(NamedTuple):
    """A row of the queue: of many, only those that are told something are read whole."""

    pk: UUID
    account: str
    requested_sandbox_id: str
    waiting_reason: str
    waiting_since: datetime | None
    stop_requested_at: datetime | None
    cpu: int | None
    memory: int | None
    disk: int | None
    passed_over_at: datetime | None


class _Room:
    """What may still be admitted in one look."""

    def __init__(self, state: AdmissionState, now: datetime) -> None:
        self._rules = admission_rules()
        self._now = now
        self._active_of = Counter(self._active())
        self._hub_limit = self._limit(HUB, settings.TASKHUB_EXECUTIONS_AT_ONCE)
        self.sandboxes = SandboxRoom(state, may_try=not _is_ahead(state, "retry_at", TRY_TAKES))
        self._turns = UNDER_WAY - starts_under_way(now)

    def _active(self) -> Iterable[str]:
        """The accounts of those that run, where they count."""
        if _has_no_limits() and all(rule.at_once is None for rule in self._rules.values()):
            return []
        return Execution.objects.filter(status__in=STARTED).order_by().values_list("account", flat=True)

    def _limit(self, account: str, setting: int) -> int | None:
        rule = self._rules.get(account)
        return rule.at_once if rule is not None and rule.at_once is not None else setting or None

    def _is_paused(self, account: str) -> bool:
        rule = self._rules.get(account)
        return rule is not None and rule.is_paused(self._now)

    def reason_for(self, execution: _Queued) -> WaitingReason | None:
        """None: it may start."""
        if self._is_paused(HUB) or self._is_paused(execution.account):
            return WaitingReason.PAUSED
        of_account = self._limit(execution.account, settings.TASKHUB_EXECUTIONS_AT_ONCE_PER_ACCOUNT)
        if self._hub_limit is not None and self._active_of.total() >= self._hub_limit:
            return WaitingReason.LIMIT
        if execution.account and of_account is not None and self._active_of[execution.account] >= of_account:
            return WaitingReason.LIMIT
        return None if self.sandboxes.has_room_for(execution) else WaitingReason.CAPACITY

    def is_turn_of(self, execution: _Queued) -> bool:
        """False for one that may start as soon as those before it have."""
        if self.sandboxes.is_bounded or not needs_capacity(execution):
            return True
        self._turns -= 1
        return self._turns >= 0

    def take(self, execution: _Queued) -> bool:
        """Count an admission; True where it is the one that is tried beyond the ceiling."""
        self._active_of[execution.account] += 1
        return self.sandboxes.take(execution)


def _is_ahead(state: AdmissionState, field: str, at_most: timedelta) -> bool:
    """Whether this moment of the state is still to come; by the monotonic clock (`taskhub.lib.leases`)."""
    moment: datetime | None = getattr(state, field)
    return moment is not None and not watch.moment_is_past(("admission", field), moment, at_most)


def _is_over(what: str, since: datetime | None, length: timedelta) -> bool:
    return since is not None and watch.moment_is_past(("admission", what), since + length, length)


def starts_under_way(now: datetime) -> int:
    """The starts that make a sandbox and have begun just now."""
    made = Execution.objects.filter(TO_START, requested_sandbox_id="")
    return made.filter(admitted_at__gt=now - UNDER_WAY_FOR).count()


def more_may_start() -> bool:
    """Whether executions were left in the queue and few starts are under way: asked when one has started."""
    now = timezone.now()
    left = _QUEUED.filter(waiting_reason="", queued_at__lt=now - JOB_TAKES)
    return left.exists() and starts_under_way(now) <= UNDER_WAY // 2


def executions_admit() -> list[UUID]:
    """Admit those that may start now; returns their ids. Their jobs are to be sent by the caller, after the commit."""
    if not _QUEUED.exists() or _all_turns_are_taken():
        return []
    with transaction.atomic():
        return _admit()


def _all_turns_are_taken() -> bool:
    """A look would admit none and tell nothing: so each start of many costs no look at all that are queued."""
    if not _has_no_limits() or starts_under_way(timezone.now()) < UNDER_WAY:
        return False
    in_sandboxes_of_their_own = _QUEUED.exclude(requested_sandbox_id="")
    return not (in_sandboxes_of_their_own.exists() or AdmissionRule.objects.exists() or _BOUNDED.exists())


def _admit() -> list[UUID]:
    state = lock_state()
    now = timezone.now()
    _forget(state)
    room = _Room(state, now)
    held = room.sandboxes.held.sandboxes
    if held:
        state.held_at = now
    admitted: list[_Queued] = []
    waiting: list[tuple[_Queued, WaitingReason]] = []
    for execution in map(_Queued._make, queue().values_list(*_Queued._fields)):
        if execution.stop_requested_at is not None:
            execution_finish(execution=_whole(execution.pk), outcome=Outcome(ExecutionStatus.STOPPED))
        elif words := room.sandboxes.never_fits(execution):
            execution_finish(execution=_whole(execution.pk), outcome=never(words))
        elif reason := room.reason_for(execution):
            waiting.append((execution, reason))
        elif room.is_turn_of(execution):
            admitted.append(execution)
            if room.take(execution):
                state.trying, state.retry_at = execution.pk, now + TRY_TAKES
    _start(state, admitted, now)
    _note_first(room.sandboxes.first, now)
    _tell(state, waiting, held, now)
    state.save()
    return [execution.pk for execution in admitted]


def _forget(state: AdmissionState) -> None:
    """What was learnt so long ago that it may not be true any more."""
    if state.ceiling is not None and _is_over("ceiling", state.ceiling_at, CEILING_HOLDS):
        state.ceiling = state.retry_at = None
        forget_sums(state)
        state.refusals = 0
    if not _is_ahead(state, "throttled_until", THROTTLED_MOST):
        state.throttled_until = None


def _note_first(first: Queued | None, now: datetime) -> None:
    """Smaller ones go before it from now on; what is queued before it later does not begin that anew."""
    if first is not None and first.passed_over_at is None:
        Execution.objects.filter(pk=first.pk).update(passed_over_at=now)


def _whole(execution_id: UUID) -> Execution:
    return Execution.objects.select_related("task").defer("script", "env").get(pk=execution_id)


def _tell(state: AdmissionState, waiting: list[tuple[_Queued, WaitingReason]], held: int, now: datetime) -> None:
    for position, (execution, reason) in enumerate(waiting, start=1):
        if reason == WaitingReason.CAPACITY and _can_never(execution, state, held, now):
            execution_finish(execution=_whole(execution.pk), outcome=_never())
        elif execution.waiting_reason != reason:
            execution_tell_waiting(execution=_whole(execution.pk), reason=reason, position=position)


def _start(state: AdmissionState, admitted: list[_Queued], now: datetime) -> None:
    """queued → starting; a start job takes the lease. The accounts go behind all others."""
    if not admitted:
        return
    # Each has a time of its own: that is the order in which they are due.
    times = [When(pk=each.pk, then=Value(now + timedelta(microseconds=n))) for n, each in enumerate(admitted)]
    Execution.objects.filter(pk__in=[each.pk for each in admitted], status=ExecutionStatus.QUEUED).update(
        status=ExecutionStatus.STARTING,
        admitted_at=Case(*times, output_field=DateTimeField()),
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


def _can_never(execution: _Queued, state: AdmissionState, held: int, now: datetime) -> bool:
    """Full for so long, and nothing of ours that could give way."""
    since = max(filter(None, (execution.waiting_since, state.held_at)), default=now)
    return not held and _is_over(f"wait {execution.pk}", since, timedelta(seconds=settings.TASKHUB_EXECUTION_WAIT_S))


def _never() -> Outcome:
    hours = settings.TASKHUB_EXECUTION_WAIT_S / 3600
    return never(f"The sandbox service was full for {hours:g} h while this hub had no sandbox there.")
