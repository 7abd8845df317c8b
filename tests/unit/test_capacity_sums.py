"""Capacity by sums: CPUs, memory and disk of sandboxes, and the first in line that does not fit."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple
from unittest.mock import patch
from uuid import UUID, uuid4

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from sandboxes.errors import SandboxesFull
from sandboxes.gateway.translation import refusal
from taskhub.auth.actor import SYSTEM
from taskhub.checks import one_sandbox_fits
from taskhub.executions.executor import Place
from taskhub.lib.leases import watch
from taskhub.models import AdmissionState, Execution, Lack, SandboxSize
from taskhub.services import admission, capacity, executions, sandbox_room
from taskhub.services.environments import environment_create, environment_update
from taskhub.services.sandbox_room import SandboxRoom
from taskhub.services.sandbox_sizes import Together, held_sandboxes, size_of
from tests.unit.test_admission import end, queue, waiting_events

pytestmark = pytest.mark.django_db


def environment(name: str, cpu: int | None = None, **fields: Any) -> None:
    environment_create(actor=SYSTEM, name=name, image="python:3.12", cpu=cpu, **fields)


def queue_in(name: str, where: str, count: int = 1) -> list[UUID]:
    """Executions of an account in an environment, or in none, in their order."""
    fields = {} if where == "none" else {"environment": where}
    return [execution.pk for execution in queue(name, count, **fields)]


def start(execution_id: UUID, size: SandboxSize | None = None) -> Execution:
    """What a start job does when the service makes the sandbox."""
    claimed = executions.execution_claim_start(execution_id=execution_id, lease_s=60)
    assert claimed is not None
    place = Place(claimed.pk, f"sandbox-{claimed.pk}", claimed.session_name, "command", size=size)
    assert executions.execution_mark_started(execution=claimed, place=place)
    capacity.admission_note_started()
    return claimed


def refuse(execution_id: UUID, lack: Lack | None) -> None:
    claimed = executions.execution_claim_start(execution_id=execution_id, lease_s=60)
    assert claimed is not None
    capacity.admission_note_full(execution=claimed, lack=lack)


def give_back(execution: Execution) -> None:
    end(execution)
    executions.execution_mark_released(execution=execution)


def pass_time(execution_id: UUID) -> None:
    """Smaller ones have gone before it for a minute."""
    long_ago = timezone.now() - timedelta(seconds=61)
    assert Execution.objects.filter(pk=execution_id, passed_over_at__isnull=False).update(passed_over_at=long_ago)


def test_cpus_of_sandboxes_that_are_not_given_back_are_summed(settings: Any) -> None:
    settings.TASKHUB_CAPACITY_CPU = 5
    environment("large", cpu=4)
    first, second = queue_in("alice", "large", 2)
    (bare,) = queue("bob")
    assert admission.executions_admit() == [first, bare.pk]
    assert [data["reason"] for data in waiting_events()] == ["capacity"]
    running = start(first)
    end(running)
    assert admission.executions_admit() == [], "its sandbox is still there"
    executions.execution_mark_released(execution=running)
    assert admission.executions_admit() == [second]


@pytest.mark.parametrize(
    ("setting", "limit", "fields"),
    [("CPU", 4, {"cpu": 2}), ("MEMORY_GIB", 8, {"memory": 4}), ("DISK_GIB", 20, {"disk": 10}), ("DISK_GIB", 6, {})],
)
def test_each_sum_has_a_setting(settings: Any, setting: str, limit: int, fields: dict[str, int]) -> None:
    """Without a size it is what the service gives unasked: 1 CPU, 1 GiB of memory, 3 GiB of disk."""
    setattr(settings, f"TASKHUB_CAPACITY_{setting}", limit)
    environment("sized", **fields)
    made = queue_in("alice", "sized", 3)
    assert admission.executions_admit() == made[:2]
    assert admission.executions_admit() == [], "one that no worker has begun to start is counted"


def test_start_job_asks_for_admission_where_sums_are_limited(settings: Any) -> None:
    """No other is queued, no limit of executions, no ceiling: without the setting it would start at once."""
    settings.TASKHUB_CAPACITY_CPU = 1
    start(admission_of(queue_in("alice", "none")))
    (waits,) = queue_in("bob", "none")
    standing = admission.execution_standing(waits)
    assert standing is not None
    assert not standing.may_start


def admission_of(made: list[UUID]) -> UUID:
    assert admission.executions_admit() == made
    return made[0]


def test_smaller_ones_pass_the_first_in_line_for_a_minute_then_the_line_is_held(settings: Any) -> None:
    settings.TASKHUB_CAPACITY_CPU = 4
    environment("large", cpu=4)
    running = start(admission_of(queue_in("alice", "none")))
    (large,) = queue_in("bob", "large")
    smaller = queue_in("carol", "none", 5)
    passed = admission.executions_admit()
    assert passed == smaller[:3]
    pass_time(large)
    give_back(running)
    for execution_id in passed[:2]:
        give_back(start(execution_id))
        assert admission.executions_admit() == [], "the line is held"
    assert Execution.objects.get(pk=smaller[3]).waiting_reason == "capacity"
    give_back(start(passed[2]))
    assert admission.executions_admit() == [large]


def test_one_that_was_the_first_in_line_keeps_its_minute_when_others_come_before_it(settings: Any) -> None:
    settings.TASKHUB_CAPACITY_CPU = 4
    environment("large", cpu=4)
    start(admission_of(queue_in("alice", "none")))
    (large,) = queue_in("bob", "large")
    admission.executions_admit()
    since = Execution.objects.get(pk=large).passed_over_at
    queue("bob", 1, priority="high", environment="large")
    admission.executions_admit()
    assert Execution.objects.filter(passed_over_at__isnull=False).count() == 2
    assert Execution.objects.get(pk=large).passed_over_at == since


def test_passing_is_judged_by_the_monotonic_clock(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wall clock that is set back does not let smaller ones pass for an hour."""
    settings.TASKHUB_CAPACITY_CPU = 4
    environment("large", cpu=4)
    start(admission_of(queue_in("alice", "none")))
    (large,) = queue_in("bob", "large")
    admission.executions_admit()
    Execution.objects.filter(pk=large).update(passed_over_at=timezone.now() + timedelta(hours=1))
    (first,) = queue_in("carol", "none")
    assert admission.executions_admit() == [first]
    now = watch.clock()
    monkeypatch.setattr(watch, "clock", lambda: now + sandbox_room.PASSING.total_seconds())
    queue_in("dave", "none")
    assert admission.executions_admit() == []


def test_one_that_is_larger_than_the_setting_fails_and_holds_up_none(settings: Any) -> None:
    settings.TASKHUB_CAPACITY_MEMORY_GIB = 8
    environment("huge", memory=9)
    (huge,) = queue_in("alice", "huge")
    assert admission.executions_admit() == []
    failed = Execution.objects.get(pk=huge)
    assert (failed.status, failed.error_code) == ("failed", "capacity_never")
    assert failed.error_message == (
        "Its sandbox has 9 GiB of memory, and all sandboxes of this hub together may have 8 "
        "(TASKHUB_CAPACITY_MEMORY_GIB)."
    )


def test_sums_are_learnt_from_a_refusal_and_smaller_ones_pass(settings: Any) -> None:
    environment("large", cpu=4)
    made = queue_in("alice", "large", 3)
    admission.executions_admit()
    running = [start(execution_id) for execution_id in made[:2]]
    refuse(made[2], Lack("cpu", 10))
    state = AdmissionState.objects.get()
    assert (state.ceiling, state.cpu_ceiling, state.memory_ceiling) == (2, 10, None)
    smaller = queue_in("bob", "none", 3)
    assert admission.executions_admit() == smaller[:2], "two CPUs are left"
    give_back(running[0])
    assert admission.executions_admit() == [made[2]]


def test_ceiling_is_the_most_that_was_not_refused(settings: Any) -> None:
    """Other hubs, or people, may use the account as well."""
    environment("large", cpu=4)
    made = [*queue_in("alice", "large", 2), *queue_in("bob", "none", 2)]
    admission.executions_admit()
    start(made[0])
    refuse(made[1], Lack("cpu", 10))
    assert AdmissionState.objects.get().cpu_ceiling == 7
    admitted = admission.executions_admit()
    assert admitted == made[2:]
    start(admitted[0])
    refuse(admitted[1], Lack("cpu", 10))
    assert AdmissionState.objects.get().cpu_ceiling == 5
    AdmissionState.objects.update(retry_at=None)
    (tried,) = admission.executions_admit()
    assert tried == made[1], "the first in line is tried"
    start(tried)
    assert AdmissionState.objects.get().cpu_ceiling == 9


def test_refusal_that_names_nothing_bounds_the_number_again() -> None:
    made = queue_in("alice", "none", 3)
    admission.executions_admit()
    start(made[0])
    refuse(made[1], Lack("cpu", 10))
    AdmissionState.objects.update(retry_at=None)
    refuse(admission.executions_admit()[0], None)
    state = AdmissionState.objects.get()
    assert (state.ceiling, state.cpu_ceiling) == (1, None)
    assert admission.executions_admit() == []


def test_line_is_not_held_for_one_that_an_empty_hub_has_no_room_for() -> None:
    environment("large", cpu=4)
    (large,) = queue_in("alice", "large")
    admission.executions_admit()
    refuse(large, Lack("cpu", 4))
    assert AdmissionState.objects.get().cpu_ceiling == 3
    admission.executions_admit()
    pass_time(large)
    smaller = queue_in("bob", "none", 2)
    assert admission.executions_admit() == smaller


def test_one_that_the_whole_account_is_too_small_for_fails() -> None:
    environment("huge", cpu=12)
    (huge,) = queue_in("alice", "huge")
    admission.executions_admit()
    refuse(huge, Lack("cpu", 10))
    failed = Execution.objects.get(pk=huge)
    assert (failed.status, failed.error_code) == ("failed", "capacity_never")
    assert not AdmissionState.objects.filter(ceiling__isnull=False).exists()


def test_size_that_the_service_tells_counts_from_then_on(settings: Any) -> None:
    """That of a snapshot is its own; the next executions in the same version are expected to have it."""
    settings.TASKHUB_CAPACITY_CPU = 8
    version = environment_create(actor=SYSTEM, name="frozen", snapshot="frozen")
    first, second, third = queue_in("alice", "frozen", 3)
    admission.executions_admit()
    Execution.objects.filter(pk__in=[second, third]).update(status="queued")
    size = SandboxSize(cpu=4, memory=8, disk=10)
    capacity.admission_note_size(execution=start(first, size), size=size)
    assert {size_of(each) for each in Execution.objects.all()} == {size}
    (later,) = queue_in("bob", "frozen")
    assert size_of(Execution.objects.get(pk=later)) == size
    assert held_sandboxes().size == size
    assert admission.executions_admit() == [later], "8 CPUs are those of two; the turn is bob's"
    changed = environment_update(actor=SYSTEM, name="frozen", snapshot="other")
    assert (version.environment_id, changed.cpu) == (changed.environment_id, None)


@pytest.mark.parametrize(
    ("document", "size"),
    [
        ({"cpu": 2, "memory": 4, "disk": 10}, SandboxSize(2, 4, 10)),
        ({"cpu": 0.5, "memory": 1.5, "disk": 3}, SandboxSize(1, 2, 3)),
        ({"cpu": 2, "memory": 4}, None),
        ({"cpu": "2", "memory": 4, "disk": 10}, None),
        ({"cpu": float("nan"), "memory": 4, "disk": 10}, None),
        ({"cpu": float("inf"), "memory": 4, "disk": 10}, None),
        ({"cpu": 0, "memory": 4, "disk": 10}, None),
    ],
)
def test_size_is_read_from_the_services_document(document: dict[str, Any], size: SandboxSize | None) -> None:
    assert SandboxSize.read(document) == size


@pytest.mark.parametrize(
    ("text", "lack"),
    [
        ("Total CPU limit exceeded. Maximum allowed: 10.\nTo increase …", Lack("cpu", 10)),
        ("Total memory limit exceeded. Maximum allowed: 10GiB.", Lack("memory", 10)),
        ("total disk quota exceeded", Lack("disk", None)),
        ("Total disk limit exceeded. Maximum allowed: 99999999999999999999GiB.", Lack("disk", None)),
        ("Total GPU limit exceeded. Maximum allowed: 1.", None),
    ],
)
def test_what_a_full_service_lacks_is_read_from_its_words(text: str, lack: Lack | None) -> None:
    error = refusal("sandbox", 403, {}, text)
    assert isinstance(error, SandboxesFull)
    assert error.lack == lack


@pytest.mark.parametrize("name", ["TASKHUB_CAPACITY_CPU", "TASKHUB_CAPACITY_MEMORY_GIB", "TASKHUB_CAPACITY_DISK_GIB"])
@pytest.mark.parametrize("value", ["-1", "ten", "1.5", ""])
def test_wrong_values_of_the_settings_stop_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    from config import env  # noqa: PLC0415 - as settings read it

    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=name):
        env.integer(name, 0)


def test_limit_below_one_usual_sandbox_is_warned_of(settings: Any) -> None:
    assert not one_sandbox_fits()
    settings.TASKHUB_CAPACITY_DISK_GIB = 2
    (warning,) = one_sandbox_fits()
    assert "TASKHUB_CAPACITY_DISK_GIB is 2" in warning.msg
    settings.TASKHUB_CAPACITY_DISK_GIB = 3
    assert not one_sandbox_fits()


class Row(NamedTuple):
    """Of the queue."""

    pk: UUID
    cpu: int
    memory: int | None = None
    disk: int | None = None
    requested_sandbox_id: str = ""
    waiting_reason: str = ""
    passed_over_at: datetime | None = None


LIMIT = 9


@given(
    st.lists(st.integers(min_value=1, max_value=LIMIT), min_size=1, max_size=20),
    st.sampled_from(["set", "learnt", "both"]),
    st.data(),
)
def test_sums_hold_and_all_come_to_their_turn(sizes: list[int], known: str, data: st.DataObject) -> None:
    """Whatever waits, in whatever order it ends, however long smaller ones have gone first."""
    ceilings = {} if known == "set" else {"ceiling": 1, "cpu_ceiling": LIMIT}
    state = AdmissionState(**ceilings)
    now = timezone.now()
    waiting = [Row(uuid4(), cpu) for cpu in sizes]
    running: list[Row] = []
    with override_settings(TASKHUB_CAPACITY_CPU=0 if known == "learnt" else LIMIT):
        while waiting:
            cpus = sum(row.cpu for row in running)
            held = Together(len(running), SandboxSize(cpus, len(running), len(running)))
            with patch.object(sandbox_room, "held_sandboxes", lambda held=held: held):
                room = SandboxRoom(state, may_try=False)
            admitted = [row for row in waiting if room.has_room_for(row) and not room.take(row)]
            assert admitted or running, "nothing starts, and nothing will end"
            running += admitted
            assert sum(row.cpu for row in running) <= LIMIT
            waiting = [row for row in waiting if row not in admitted]
            if room.first is not None:
                assert room.first == waiting[0]
                passed = now - timedelta(seconds=data.draw(st.sampled_from([0, 61])))
                waiting[0] = room.first._replace(passed_over_at=room.first.passed_over_at or passed)
            running.pop(data.draw(st.integers(min_value=0, max_value=len(running) - 1)))
