"""The queue of executions: who is next, and where each one stands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import Case, Count, F, IntegerField, OuterRef, QuerySet, Subquery, Value, When, Window
from django.db.models.functions import Coalesce, RowNumber
from django.utils import timezone

from taskhub.models import (
    ACTIVE_STATUSES,
    HUB,
    RESOURCES,
    AdmissionRule,
    AdmissionState,
    AdmissionTurn,
    Execution,
    ExecutionStatus,
    Resource,
    StartAwaits,
    TaskPriority,
    WaitingReason,
)

_RANK = Case(
    *(When(task__priority=name, then=Value(rank)) for rank, name in enumerate(TaskPriority.values)),
    default=Value(-1),
    output_field=IntegerField(),
)


def queue() -> QuerySet[Execution]:
    """The queued executions in the order of admission: accounts by turns, each by priority of the task, then by age."""
    turn = AdmissionTurn.objects.filter(pk=OuterRef("account")).values("turn")
    return (
        Execution.objects.filter(status=ExecutionStatus.QUEUED)
        .annotate(
            place_in_account=Window(
                RowNumber(), partition_by=F("account"), order_by=[_RANK.desc(), F("queued_at").asc(), F("id").asc()]
            ),
            turn=Coalesce(Subquery(turn), Value(0)),
        )
        .order_by("place_in_account", "turn", "account")
    )


def positions(execution_ids: Iterable[UUID]) -> dict[UUID, int]:
    """The present position, from 1, of each of these that is queued; those of paused accounts count along."""
    wanted = set(execution_ids)
    if not wanted:
        return {}
    ids = queue().values_list("pk", flat=True)
    return {pk: place for place, pk in enumerate(ids, start=1) if pk in wanted}


_AWAITED: Final = {
    StartAwaits.IMAGE: "builds or fetches the image",
    StartAwaits.SNAPSHOT: "activates the snapshot",
    StartAwaits.VOLUME: "makes the volumes",
}


@dataclass(frozen=True, slots=True)
class Waiting:
    """An execution that waits: why, since when, and its position in the queue from 1; None where it has left the queue.

    `message` says why in a sentence.
    """

    reason: str
    since: datetime
    position: int | None
    message: str


def waiting_of(execution: Execution, known: dict[UUID, int] | None = None) -> Waiting | None:
    """How it waits; None where it does not, or was not told to. `known`: positions that are at hand."""
    since = execution.waiting_since or execution.queued_at
    if (awaited := execution.start_awaits) is not None:
        return Waiting(awaited.value, since, None, awaited_words(execution, awaited))
    if execution.status != ExecutionStatus.QUEUED or not execution.waiting_reason:
        return None
    position = (known or positions([execution.pk])).get(execution.pk, 1)
    return Waiting(execution.waiting_reason, since, position, f"{WaitingReason(execution.waiting_reason).label}.")


def awaited_words(execution: Execution, awaited: StartAwaits) -> str:
    """For each reader of the execution: names of images, snapshots and volumes are for operators."""
    version = execution.environment
    whose = "of its sandbox" if version is None else f"of the environment {version.name}"
    return f"The sandbox service {_AWAITED[awaited]} {whose}."


def queue_first(count: int) -> list[Execution]:
    """The first of the queue with their tasks, in the order of admission."""
    found = (
        queue().select_related("task").defer("script", "env", "secret_env", "task__description", "task__folded_text")
    )
    return list(found[:count])


def admission_rules() -> dict[str, AdmissionRule]:
    """By account; the hub's under HUB."""
    return {rule.account: rule for rule in AdmissionRule.objects.all()}


def pause_of(account: str) -> AdmissionRule | None:
    """The rule that keeps this account's agents from new work now: the hub's, else its own."""
    now = timezone.now()
    rules = AdmissionRule.objects.filter(pk__in={HUB, account}, paused=True).order_by("account")
    return next((rule for rule in rules if rule.is_paused(now)), None)


def admission_rule_list() -> list[AdmissionRule]:
    """The rules of single accounts."""
    return list(AdmissionRule.objects.exclude(account=HUB))


def account_exists(name: str) -> bool:
    return User.objects.filter(username=name).exists()


@dataclass(frozen=True, slots=True)
class Overview:
    """How starts stand: the hub's rule, what was learnt of the capacity, what runs, how many wait by reason."""

    rule: AdmissionRule
    is_paused: bool
    ceiling: int | None
    ceilings: dict[Resource, int | None]
    """Of CPUs, and GiB of memory and disk."""
    running: int
    waiting: dict[str, int]


def admission_overview() -> Overview:
    rule = AdmissionRule.objects.filter(pk=HUB).first() or AdmissionRule(account=HUB)
    state = AdmissionState.objects.filter(pk=1).first()
    return Overview(
        rule=rule,
        is_paused=rule.is_paused(timezone.now()),
        ceiling=state.ceiling if state else None,
        ceilings={name: getattr(state, f"{name}_ceiling", None) for name in RESOURCES},
        running=Execution.objects.filter(status__in=[ExecutionStatus.STARTING, ExecutionStatus.RUNNING]).count(),
        waiting=waiting_by_reason(),
    )


def executions_under_way() -> bool:
    """Whether any execution has not ended, or is a verification that is to be repeated."""
    return (
        Execution.objects.filter(status__in=ACTIVE_STATUSES).exists()
        or Execution.objects.filter(retry_at__isnull=False).exists()
    )


def waiting_by_reason() -> dict[str, int]:
    """How many wait, for each reason."""
    waiting = Execution.objects.filter(status=ExecutionStatus.QUEUED).exclude(waiting_reason="")
    counted = waiting.order_by().values_list("waiting_reason").annotate(count=Count("pk"))
    return {**dict.fromkeys(WaitingReason.values, 0), **dict(counted)}


def longest_wait_s() -> float:
    """Seconds that the oldest waiting execution has waited; 0 where none waits."""
    waiting = Execution.objects.filter(status=ExecutionStatus.QUEUED).exclude(waiting_reason="")
    since = waiting.order_by("waiting_since").values_list("waiting_since", flat=True).first()
    return max(0.0, (timezone.now() - since).total_seconds()) if since else 0.0
