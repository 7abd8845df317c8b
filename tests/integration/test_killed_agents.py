"""Fifty agents work through their tasks and are killed at random: each task is done once, and none is lost for long."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from taskhub.auth.actor import SYSTEM, Actor
from taskhub.errors import LeaseLost
from taskhub.models import Claim, Task
from taskhub.services.claims import Claimed, claim_touch, claims_expire, task_claim
from taskhub.services.tasks import task_update, tasks_create
from tests.agents.calls import acting
from tests.conftest import make_account

pytestmark = pytest.mark.django_db

AGENTS = 50
TASKS = 150
LEASE_S = 60
TICK_S = 2.0
RECOVERED_WITHIN = timedelta(seconds=5)


@dataclass
class Worker:
    """`held`: what it believes to hold; a dead one believes it still when it comes back."""

    actor: Actor
    held: Claimed | None = None
    back_at: datetime | None = None

    def lease(self) -> Actor:
        assert self.held is not None
        assert self.held.claim is not None
        return Actor(**{**{name: getattr(self.actor, name) for name in _FIELDS}, "lease": self.held.claim.token})


_FIELDS = ("door", "user", "token", "agent_name", "force", "claims")


@dataclass
class Day:
    chance: random.Random
    done: Counter[Any] = field(default_factory=Counter)
    is_free: bool = True
    """Whether it is worth a claim; or most of the time would go into claims that find nothing."""
    killed: int = 0
    lost: int = 0

    def turn(self, worker: Worker) -> None:
        if worker.back_at is not None:
            self.come_back(worker)
        elif worker.held is None:
            worker.held = task_claim(actor=worker.actor, lease_s=LEASE_S) if self.is_free else None
            self.is_free = worker.held is not None
        elif self.chance.random() < 0.12:
            # It may be back before its lease has run out, or long after.
            self.killed += 1
            worker.back_at = timezone.now() + timedelta(seconds=self.chance.choice([10, 3 * LEASE_S]))
        elif self.chance.random() < 0.5:
            self.finish(worker)
        else:
            claim_touch(actor=worker.actor, task_id=worker.held.task.pk)

    def come_back(self, worker: Worker) -> None:
        assert worker.back_at is not None
        if timezone.now() < worker.back_at:
            return
        worker.back_at = None
        self.finish(worker)

    def finish(self, worker: Worker) -> None:
        assert worker.held is not None
        pk = worker.held.task.pk
        try:
            task_update(actor=worker.lease(), task_id=pk, status="done")
        except LeaseLost:
            self.lost += 1
        else:
            self.done[pk] += 1
        worker.held = None


def test_every_task_is_done_exactly_once_though_agents_are_killed(
    advance: Callable[[float], None], settings: Any
) -> None:
    settings.TASKHUB_ATTEMPTS = 1000
    accounts = [make_account(f"account-{n}", "agent") for n in range(5)]
    workers = [Worker(acting(accounts[n % 5], f"{n}")) for n in range(AGENTS)]
    tasks_create(actor=SYSTEM, tasks=[{"title": f"{n}"} for n in range(TASKS)])
    day = Day(random.Random(17))
    while len(day.done) < TASKS:
        day.chance.shuffle(workers)
        for worker in workers:
            day.turn(worker)
        day.is_free = bool(claims_expire()) or day.is_free
        late = Claim.objects.filter(ended_at__isnull=True, expires_at__lt=timezone.now() - RECOVERED_WITHIN)
        assert not late.exists()
        advance(TICK_S)
    # Those that are dead still come back after all is over.
    advance(3 * LEASE_S)
    for worker in workers:
        if worker.back_at is not None:
            day.come_back(worker)
    assert set(day.done.values()) == {1}
    assert not Task.objects.exclude(status="done").exists()
    # The game was played: many died, and some came back too late.
    assert day.killed > 10
    assert day.lost > 5
