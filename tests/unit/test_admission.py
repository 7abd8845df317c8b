"""Admission: limits, turns, pauses, and a sandbox service that is full."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from django_eventstream.models import Event
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from sandboxes.errors import SandboxesFull, SandboxRefused, SandboxThrottled, SandboxTooLarge
from sandboxes.gateway.translation import refusal
from taskhub.auth.actor import SYSTEM, Actor
from taskhub.errors import Conflict
from taskhub.executions.executor import Place
from taskhub.models import AdmissionState, AuditEntry, Execution, ExecutionStatus, TaskPriority
from taskhub.selectors.admission import positions, waiting_of
from taskhub.services import admission, capacity, executions, tasks
from taskhub.services.admission_rules import admission_rule_set
from taskhub.services.executions import Outcome
from tests.conftest import make_account

pytestmark = pytest.mark.django_db


def queue(name: str, count: int = 1, **fields: Any) -> list[Execution]:
    user = User.objects.filter(username=name).first() or make_account(name, "agent")
    actor = Actor(door="rest", user=user)
    made = [tasks.task_create(actor=actor, title=f"{name} {n}", **fields) for n in range(count)]
    return [executions.execution_queue(actor=actor, task_id=task.pk, script="true") for task in made]


def status_of(execution: Execution) -> str:
    return Execution.objects.get(pk=execution.pk).status


def start(execution_id: Any) -> Execution:
    """What a start job does when the service makes the sandbox."""
    claimed = executions.execution_claim_start(execution_id=execution_id, lease_s=60)
    assert claimed is not None
    place = Place(claimed.pk, f"sandbox-{claimed.pk}", claimed.session_name, "command")
    assert executions.execution_mark_started(execution=claimed, place=place)
    capacity.admission_note_started()
    return claimed


def refuse(*execution_ids: Any) -> None:
    """What start jobs that are under way together do when the service is full."""
    under_way = [executions.execution_claim_start(execution_id=each, lease_s=60) for each in execution_ids]
    for claimed in under_way:
        assert claimed is not None
        capacity.admission_note_full(execution=claimed)


def end(execution: Execution) -> None:
    execution.refresh_from_db()
    assert executions.execution_finish(execution=execution, outcome=Outcome(ExecutionStatus.COMPLETED, exit_code=0))


def is_due(execution_id: Any) -> bool:
    standing = admission.execution_standing(execution_id)
    assert standing is not None
    return standing.may_start


def waiting_events() -> list[dict[str, Any]]:
    told = [json.loads(data)["data"] for data in Event.objects.order_by("eid").values_list("data", flat=True)]
    return [data for data in told if data.get("execution_event") == "waiting"]


def test_without_limits_everything_is_admitted_at_once() -> None:
    made = queue("alice", 12)
    assert set(admission.executions_admit()) == {execution.pk for execution in made}
    assert not waiting_events()
    assert admission.executions_admit() == []


def test_without_limits_many_start_in_turn_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the service turns out to be full, no account has had more than its turns."""
    names = ("alice", "bob", "carol", "dave")
    for name in names:
        queue(name, 8)
    first = admission.executions_admit()
    assert Counter(Execution.objects.filter(pk__in=first).values_list("account", flat=True)) == dict.fromkeys(names, 4)
    assert admission.executions_admit() == []
    assert not waiting_events(), "it is no reason to wait"
    for execution_id in first[:7]:
        start(execution_id)
    assert not admission.more_may_start()
    start(first[7])
    monkeypatch.setattr(admission, "JOB_TAKES", timedelta(hours=1))
    assert not admission.more_may_start(), "their own jobs are on the way"
    monkeypatch.setattr(admission, "JOB_TAKES", -timedelta(hours=1))
    assert admission.more_may_start()
    second = admission.executions_admit()
    assert Counter(Execution.objects.filter(pk__in=second).values_list("account", flat=True)) == dict.fromkeys(names, 2)
    # Starts that hang, or whose worker has died, hold up nothing.
    Execution.objects.filter(status="starting").update(admitted_at=timezone.now() - timedelta(seconds=11))
    assert len(admission.executions_admit()) == 8
    assert not admission.more_may_start()


def test_the_limit_of_the_hub_holds_and_each_waits_for_it(settings) -> None:
    settings.TASKHUB_EXECUTIONS_AT_ONCE = 2
    made = queue("alice", 4)
    first = admission.executions_admit()
    assert first == [execution.pk for execution in made[:2]]
    told = waiting_events()
    assert [(data["execution_id"], data["reason"], data["position"]) for data in told] == [
        (str(made[2].pk), "limit", 1),
        (str(made[3].pk), "limit", 2),
    ]
    admission.executions_admit()
    assert len(waiting_events()) == 2, "the same reason is told once"
    end(start(first[0]))
    assert admission.executions_admit() == [made[2].pk]


def test_an_account_has_a_limit_of_its_own(settings) -> None:
    settings.TASKHUB_EXECUTIONS_AT_ONCE_PER_ACCOUNT = 1
    alices, bobs = queue("alice", 3), queue("bob", 2)
    assert set(admission.executions_admit()) == {alices[0].pk, bobs[0].pk}


def test_accounts_take_turns_then_priority_counts_then_age(settings) -> None:
    settings.TASKHUB_EXECUTIONS_AT_ONCE = 1
    alices = [*queue("alice", 2, priority="low"), *queue("alice", 1, priority="high")]
    bobs = queue("bob", 2)
    order = []
    while admitted := admission.executions_admit():
        order += admitted
        end(start(admitted[0]))
    assert order == [alices[2].pk, bobs[0].pk, alices[0].pk, bobs[1].pk, alices[1].pk]


def test_positions_are_those_of_the_coming_admissions(settings) -> None:
    settings.TASKHUB_EXECUTIONS_AT_ONCE = 1
    made = [*queue("alice", 3), *queue("bob", 1)]
    admission.executions_admit()
    places = positions([execution.pk for execution in made])
    assert places == {made[3].pk: 1, made[1].pk: 2, made[2].pk: 3}
    urgent = queue("alice", 1, priority="high")[0]
    assert positions([urgent.pk, made[1].pk]) == {urgent.pk: 2, made[1].pk: 3}
    waiting = waiting_of(Execution.objects.get(pk=made[2].pk))
    assert waiting is not None
    assert (waiting.reason, waiting.position) == ("limit", 4)


def test_a_full_service_is_waited_for_and_its_ceiling_is_kept() -> None:
    made = queue("alice", 5)
    admitted = admission.executions_admit()
    running = [start(execution_id) for execution_id in admitted[:2]]
    refuse(*admitted[2:])
    assert not Execution.objects.filter(pk__in=admitted[2:]).exclude(attempts=0).exists()
    state = AdmissionState.objects.get()
    assert (state.ceiling, state.refusals) == (2, 1)
    assert {data["reason"] for data in waiting_events()} == {"capacity"}
    assert admission.executions_admit() == []
    end(running[0])
    assert admission.executions_admit() == [], "its sandbox is still there"
    executions.execution_mark_released(execution=running[0])
    assert admission.executions_admit() == [made[2].pk]
    assert admission.executions_admit() == []


def test_beyond_the_ceiling_one_is_tried_at_a_time_and_less_and_less_often() -> None:
    queue("alice", 4)
    admitted = admission.executions_admit()
    start(admitted[0])
    refuse(*admitted[1:])
    pauses = []
    for _ in range(3):
        AdmissionState.objects.update(retry_at=timezone.now() - timedelta(seconds=1))
        (tried,) = admission.executions_admit()
        assert admission.executions_admit() == []
        refuse(tried)
        state = AdmissionState.objects.get()
        assert state.retry_at is not None
        pauses.append((state.retry_at - timezone.now()).total_seconds())
    assert pauses == sorted(pauses)
    assert pauses[-1] <= capacity.RETRY_MOST_S


def test_a_try_that_succeeds_raises_the_ceiling_and_the_next_follows() -> None:
    queue("alice", 3)
    admitted = admission.executions_admit()
    start(admitted[0])
    refuse(*admitted[1:])
    AdmissionState.objects.update(retry_at=None)
    (tried,) = admission.executions_admit()
    start(tried)
    assert AdmissionState.objects.get().ceiling == 2
    assert len(admission.executions_admit()) == 1


def test_a_throttled_service_is_left_alone_without_a_ceiling() -> None:
    queue("alice", 2)
    admitted = admission.executions_admit()
    claimed = executions.execution_claim_start(execution_id=admitted[0], lease_s=60)
    assert claimed is not None
    capacity.admission_note_throttled(execution=claimed, retry_after_s=30)
    state = AdmissionState.objects.get()
    assert state.ceiling is None
    assert admission.executions_admit() == []
    AdmissionState.objects.update(throttled_until=timezone.now())
    assert admission.executions_admit() == admitted


def test_the_first_refusal_takes_back_what_has_not_begun() -> None:
    """The others are not refused one by one, nor do they start out of turn."""
    first = queue("alice", 4)
    (bobs,) = queue("bob")
    admitted = admission.executions_admit()
    running = start(admitted[0])
    refuse(admitted[1])
    assert Counter(Execution.objects.values_list("status", flat=True)) == {"running": 1, "queued": 4}
    assert executions.execution_claim_start(execution_id=admitted[2], lease_s=60) is None
    assert admission.executions_admit() == []
    assert Counter(Execution.objects.values_list("waiting_reason", flat=True)) == {"": 1, "capacity": 4}
    end(running)
    executions.execution_mark_released(execution=running)
    assert admission.executions_admit() == [bobs.pk], "it is another account's turn"
    assert first[0].pk == running.pk


def test_a_refused_start_costs_its_account_no_turn() -> None:
    """Those that were refused in the first rush come before the second starts of the others."""
    names = [f"account-{n:02}" for n in range(12)]
    for name in names:
        queue(name, 2)
    admitted = admission.executions_admit()
    of = dict(Execution.objects.values_list("pk", "account"))
    assert [of[each] for each in admitted] == [*names, *names[:4]]
    lucky = [start(each) for each in admitted[4:8]]
    refuse(*admitted[:4], *admitted[8:12])
    order = []
    while len(order) < 8:
        done = lucky.pop(0)
        end(done)
        executions.execution_mark_released(execution=done)
        for each in admission.executions_admit():
            order.append(of[each])
            lucky.append(start(each))
    assert order == [*names[:4], *names[8:12]]


def test_a_job_that_comes_early_waits_for_those_that_are_due_before() -> None:
    for n in range(admission.UNDER_WAY):
        queue(f"account-{n:02}", 1)
    admitted = admission.executions_admit()
    due = [is_due(each) for each in admitted]
    assert due == [n < admission.OUT_OF_ORDER for n in range(admission.UNDER_WAY)]
    start(admitted[0])
    assert is_due(admitted[admission.OUT_OF_ORDER])
    assert not is_due(admitted[admission.OUT_OF_ORDER + 1])


def test_what_runs_in_a_sandbox_of_its_own_is_not_taken_back() -> None:
    made = queue("alice", 2)
    Execution.objects.filter(pk=made[1].pk).update(requested_sandbox_id="mine")
    admission.executions_admit()
    refuse(made[0].pk)
    assert status_of(made[1]) == "starting"


def test_no_number_ends_all_starts() -> None:
    (only,) = queue("alice")
    admission.executions_admit()
    claimed = executions.execution_claim_start(execution_id=only.pk, lease_s=60)
    assert claimed is not None
    capacity.admission_note_throttled(execution=claimed, retry_after_s=1e300)
    until = AdmissionState.objects.get().throttled_until
    assert until is not None
    assert until < timezone.now() + timedelta(hours=2)


def test_a_service_that_stays_full_without_a_sandbox_of_ours_fails_it(settings) -> None:
    settings.TASKHUB_EXECUTION_WAIT_S = 3600
    (only,) = queue("alice")
    admission.executions_admit()
    refuse(only.pk)
    Execution.objects.update(waiting_since=timezone.now() - timedelta(hours=2))
    AdmissionState.objects.update(held_at=timezone.now() - timedelta(minutes=30))
    admission.executions_admit()
    assert status_of(only) == "queued", "half an hour ago there was a sandbox that could give way"
    AdmissionState.objects.update(held_at=timezone.now() - timedelta(hours=2))
    admission.executions_admit()
    failed = Execution.objects.get()
    assert (failed.status, failed.error_code) == ("failed", "capacity_never")


def test_a_pause_stops_starts_and_nothing_else() -> None:
    running = start(admission_of(queue("alice"))[0])
    admission_rule_set(actor=SYSTEM, paused=True)
    (waits,) = queue("bob")
    assert admission.executions_admit() == []
    assert [data["reason"] for data in waiting_events()] == ["paused"]
    assert status_of(running) == "running"
    admission_rule_set(actor=SYSTEM, paused=False)
    assert admission.executions_admit() == [waits.pk]
    assert AuditEntry.objects.filter(action="admission:set", subject="hub").count() == 2


def test_a_pause_of_an_account_ends_at_its_time() -> None:
    until = timezone.now() + timedelta(minutes=5)
    rule = admission_rule_set(actor=SYSTEM, account="alice", paused=True, paused_until=until)
    alices, bobs = queue("alice"), queue("bob")
    assert admission.executions_admit() == [bobs[0].pk]
    type(rule).objects.update(paused_until=timezone.now())
    assert admission.executions_admit() == [alices[0].pk]


def test_a_pause_that_would_be_over_is_refused_and_an_end_without_a_pause_ignored() -> None:
    with pytest.raises(Conflict):
        admission_rule_set(actor=SYSTEM, paused=True, paused_until=timezone.now() - timedelta(seconds=1))
    rule = admission_rule_set(actor=SYSTEM, paused_until=timezone.now() + timedelta(hours=1))
    assert rule.paused_until is None, "it counts only with a pause"


def test_an_operators_limit_holds_before_the_setting(settings) -> None:
    settings.TASKHUB_EXECUTIONS_AT_ONCE = 5
    admission_rule_set(actor=SYSTEM, at_once=1)
    queue("alice", 3)
    assert len(admission.executions_admit()) == 1


def test_one_that_is_to_stop_leaves_the_queue_when_it_is_refused() -> None:
    (only,) = queue("alice")
    admission.executions_admit()
    claimed = executions.execution_claim_start(execution_id=only.pk, lease_s=60)
    assert claimed is not None
    assert only.task_id is not None
    executions.execution_request_stop(actor=SYSTEM, task_id=only.task_id)
    capacity.admission_note_full(execution=claimed)
    admission.executions_admit()
    assert status_of(only) == "stopped"


def admission_of(made: list[Execution]) -> list[Any]:
    admitted = admission.executions_admit()
    assert admitted == [execution.pk for execution in made]
    return admitted


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (403, "Total CPU limit exceeded. Maximum allowed: 10.\nTo increase …", SandboxesFull),
        (400, "Failed to create sandbox: Total memory limit exceeded. Maximum allowed: 10GiB.", SandboxesFull),
        (403, "total disk quota exceeded. Maximum allowed: 30GiB.", SandboxesFull),
        (400, "CPU request 8 exceeds maximum allowed per sandbox (4).", SandboxTooLarge),
        (403, "Disk request 50GB exceeds maximum allowed per non-ephemeral sandbox (20GB).", SandboxTooLarge),
        (403, "Forbidden resource", SandboxRefused),
        (400, "Sandbox is not in valid state", SandboxRefused),
        (404, "Total CPU limit exceeded", None),
        (429, "ThrottlerException: Too Many Requests", SandboxThrottled),
    ],
)
def test_what_the_service_says_is_told_apart(status: int, text: str, expected: type | None) -> None:
    error = refusal("sandbox", status, {"Retry-After-sandbox-create": "7"}, text)
    assert expected is None or type(error) is expected
    assert (error.waits_for == "capacity") == (expected is SandboxesFull)
    if expected is SandboxThrottled:
        assert (error.waits_for, error.retry_after_s) == ("rate", 7.0)


class FairnessTest(TestCase):
    """Whatever waits: while accounts have work, their starts differ by one at most."""

    @settings(max_examples=30)
    @given(
        st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(TaskPriority.values)), min_size=1, max_size=12),
        st.integers(min_value=1, max_value=4),
    )
    def test_turns_are_fair(self, work: list[tuple[str, str]], at_once: int) -> None:
        with self.settings(TASKHUB_EXECUTIONS_AT_ONCE=at_once):
            waiting: Counter[str] = Counter()
            for name, priority in work:
                queue(name, priority=priority)
                waiting[name] += 1
            starts: Counter[str] = Counter()
            running: list[Execution] = []
            while sum(starts.values()) < len(work):
                for execution_id in admission.executions_admit():
                    running.append(start(execution_id))
                    starts[running[-1].account] += 1
                assert len(running) <= at_once
                busy = [starts[name] for name in waiting if starts[name] < waiting[name]]
                assert not busy or max(starts[name] for name in waiting) - min(busy) <= 2
                end(running.pop(0))
