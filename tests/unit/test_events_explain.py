"""Every service that changes a task or an execution, and the events that explain what it did."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from taskhub.auth.actor import Actor
from taskhub.executions.artifact_collector import Copy, Kept
from taskhub.executions.executor import FileChange, FileChanges, Place
from taskhub.executions.log_archive import Archived
from taskhub.models import (
    ApiToken,
    Claim,
    Execution,
    ExecutionStatus,
    Leftover,
    Note,
    SandboxSize,
    StartAwaits,
    Task,
    TaskStatus,
    WaitingReason,
)
from taskhub.services import (
    admission,
    admission_rules,
    announcements,
    capacity,
    claims,
    dependencies,
    environments,
    execution_leases,
    execution_preparation,
    executions,
    file_changes,
    notes,
    tasks,
    verdicts,
    verifications,
)
from taskhub.services.executions import Outcome
from tests.explaining import assert_events_explain

pytestmark = pytest.mark.django_db


def _task(actor: Actor, **fields: Any) -> Any:
    return tasks.task_create(actor=actor, title="t", description="```bash\ntrue\n```", **fields)


def _agent(actor: Actor) -> Actor:
    return replace(actor, token=ApiToken(user=actor.user, name="agent"), claims=True)


def _started(actor: Actor) -> Any:
    return _run_of(actor, _task(actor))


def _run_of(actor: Actor, task: Any) -> Any:
    queued = executions.execution_queue(actor=actor, task_id=task.pk)
    admission.executions_admit()
    claimed = executions.execution_claim_start(execution_id=queued.pk, lease_s=60)
    assert claimed is not None
    place = Place(claimed.pk, "sandbox-1", claimed.session_name, "command-1")
    assert executions.execution_mark_started(execution=claimed, place=place)
    return claimed


def task_create(actor: Actor) -> Callable[[], Any]:
    return lambda: _task(actor, tags=["a"], assignee="bob", status="done")


def tasks_create(actor: Actor) -> Callable[[], Any]:
    return lambda: tasks.tasks_create(actor=actor, tasks=[{"title": "a"}, {"title": "b", "assignee": "bob"}])


def task_update(actor: Actor) -> Callable[[], Any]:
    task = _task(actor)
    changed = {"title": "u", "description": "d", "artifacts": ["x"], "tags": ["t"], "assignee": "bob"}
    return lambda: tasks.task_update(
        actor=actor, task_id=task.pk, status=TaskStatus.INPROGRESS, priority="low", **changed
    )


def task_claim(actor: Actor) -> Callable[[], Any]:
    _task(actor)
    return lambda: claims.task_claim(actor=_agent(actor))


def task_release(actor: Actor) -> Callable[[], Any]:
    agent = _agent(actor)
    task = _task(actor)
    claims.task_claim(actor=agent, task_id=task.pk)
    return lambda: claims.task_release(actor=agent, task_id=task.pk)


def claims_expire(actor: Actor) -> Callable[[], Any]:
    task = _task(actor)
    claims.task_claim(actor=_agent(actor), task_id=task.pk)
    Task.objects.update(failures=2)  # it is held back as well
    Claim.objects.update(lease_s=0)
    return claims.claims_expire


def claim_touch(actor: Actor) -> Callable[[], Any]:
    task = _task(actor)
    claims.task_claim(actor=_agent(actor), task_id=task.pk)
    Claim.objects.update(expires_at=timezone.now())
    return lambda: claims.claim_touch(actor=_agent(actor), task_id=task.pk)


def note_add(actor: Actor) -> Callable[[], Any]:
    task = _task(actor)
    return lambda: notes.note_add(actor=actor, task_id=task.pk, kind="question", text="?")


def note_add_of_an_answer(actor: Actor) -> Callable[[], Any]:
    task = _task(actor)
    notes.note_add(actor=actor, task_id=task.pk, kind="question", text="?")
    return lambda: notes.note_add(actor=actor, task_id=task.pk, kind="answer", text="!")


def task_set_status(actor: Actor) -> Callable[[], Any]:
    task = _task(actor)
    return lambda: notes.task_set_status(actor=actor, task_id=task.pk, status="done", note="made")


def questions_expire(actor: Actor) -> Callable[[], Any]:
    asked = notes.Question(deadline_s=1, assumes="yes")
    notes.note_add(actor=actor, task_id=_task(actor).pk, kind="question", text="?", question=asked)
    Note.objects.update(deadline=timezone.now())
    return notes.questions_expire


def dependency_waive(actor: Actor) -> Callable[[], Any]:
    blocker = _task(actor, status="done", closed_as="cancelled")
    task = _task(actor, blocked_by=[blocker.pk])
    return lambda: dependencies.dependency_waive(actor=actor, task_id=task.pk, blocker_id=blocker.pk)


def task_update_of_a_blocker(actor: Actor) -> Callable[[], Any]:
    blocker = _task(actor)
    _task(actor, blocked_by=[blocker.pk])
    return lambda: tasks.task_update(actor=actor, task_id=blocker.pk, status=TaskStatus.DONE)


def task_update_that_opens_a_blocker(actor: Actor) -> Callable[[], Any]:
    blocker = _task(actor, status="done")
    _task(actor, blocked_by=[blocker.pk])
    return lambda: tasks.task_update(actor=actor, task_id=blocker.pk, status=TaskStatus.TODO)


def task_delete_of_a_blocker(actor: Actor) -> Callable[[], Any]:
    blocker = _task(actor)
    _task(actor, blocked_by=[blocker.pk])
    return lambda: tasks.task_delete(actor=actor, task_id=blocker.pk)


def task_delete(actor: Actor) -> Callable[[], Any]:
    task = _task(actor)
    return lambda: tasks.task_delete(actor=actor, task_id=task.pk)


def execution_queue(actor: Actor) -> Callable[[], Any]:
    task = _task(actor)
    return lambda: executions.execution_queue(actor=actor, task_id=task.pk)


def execution_claim_start(actor: Actor) -> Callable[[], Any]:
    queued = executions.execution_queue(actor=actor, task_id=_task(actor).pk)
    admission.executions_admit()
    return lambda: executions.execution_claim_start(execution_id=queued.pk, lease_s=60)


def _refused(actor: Actor) -> Any:
    queued = executions.execution_queue(actor=actor, task_id=_task(actor).pk)
    admission.executions_admit()
    claimed = executions.execution_claim_start(execution_id=queued.pk, lease_s=60)
    assert claimed is not None
    return claimed


def execution_return_to_queue(actor: Actor) -> Callable[[], Any]:
    refused = _refused(actor)
    return lambda: executions.execution_return_to_queue(execution=refused)


def execution_tell_waiting(actor: Actor) -> Callable[[], Any]:
    queued = executions.execution_queue(actor=actor, task_id=_task(actor).pk)
    return lambda: executions.execution_tell_waiting(execution=queued, reason=WaitingReason.LIMIT)


def executions_admit(actor: Actor) -> Callable[[], Any]:
    admission_rules.admission_rule_set(actor=actor, at_once=1)
    for _ in range(2):
        executions.execution_queue(actor=actor, task_id=_task(actor).pk)
    return admission.executions_admit


def admission_note_full(actor: Actor) -> Callable[[], Any]:
    refused = _refused(actor)
    return lambda: capacity.admission_note_full(execution=refused)


def admission_note_throttled(actor: Actor) -> Callable[[], Any]:
    refused = _refused(actor)
    return lambda: capacity.admission_note_throttled(execution=refused, retry_after_s=5)


def admission_note_started(actor: Actor) -> Callable[[], Any]:
    _started(actor)
    return capacity.admission_note_started


def admission_note_size(actor: Actor) -> Callable[[], Any]:
    execution = _started(actor)
    return lambda: capacity.admission_note_size(execution=execution, size=SandboxSize(2, 4, 10))


def admission_rule_set(actor: Actor) -> Callable[[], Any]:
    return lambda: admission_rules.admission_rule_set(actor=actor, paused=True)


def execution_await(actor: Actor) -> Callable[[], Any]:
    queued = executions.execution_queue(actor=actor, task_id=_task(actor).pk)
    claimed = executions.execution_claim_start(execution_id=queued.pk, lease_s=60, is_queued=True)
    assert claimed is not None
    return lambda: execution_preparation.execution_await(execution=claimed, awaited=StartAwaits.SNAPSHOT, retry_s=5)


def execution_mark_started(actor: Actor) -> Callable[[], Any]:
    return lambda: _started(actor)


def _set_up(actor: Actor) -> Any:
    """Not started yet: its checkout and setup are under way."""
    queued = executions.execution_queue(actor=actor, task_id=_task(actor).pk)
    claimed = executions.execution_claim_start(execution_id=queued.pk, lease_s=60, is_queued=True)
    assert claimed is not None
    place = Place(claimed.pk, "sandbox-1", claimed.session_name, "command-1")
    assert execution_preparation.execution_mark_set_up(execution=claimed, place=place, setup_timeout_s=60)
    return claimed


def execution_mark_set_up(actor: Actor) -> Callable[[], Any]:
    return lambda: _set_up(actor)


def execution_mark_begun(actor: Actor) -> Callable[[], Any]:
    execution = _set_up(actor)
    return lambda: execution_preparation.execution_mark_begun(execution=execution)


def execution_note_commit(actor: Actor) -> Callable[[], Any]:
    execution = _set_up(actor)
    return lambda: execution_preparation.execution_note_commit(execution=execution, commit="a" * 40)


def execution_note_network_closed(actor: Actor) -> Callable[[], Any]:
    execution = _set_up(actor)
    return lambda: execution_preparation.execution_note_network_closed(execution=execution)


def execution_request_stop(actor: Actor) -> Callable[[], Any]:
    queued = executions.execution_queue(actor=actor, task_id=_task(actor).pk)
    return lambda: executions.execution_request_stop(actor=actor, task_id=queued.task_id)


def execution_finish(actor: Actor) -> Callable[[], Any]:
    started = _started(actor)
    outcome = Outcome(ExecutionStatus.FAILED, exit_code=3)
    return lambda: executions.execution_finish(
        execution=started, outcome=outcome, archived=Archived(5, truncated=False)
    )


def execution_mark_ending(actor: Actor) -> Callable[[], Any]:
    started = _started(actor)
    return lambda: executions.execution_mark_ending(execution=started, ending=ExecutionStatus.STOPPED)


def execution_extend_lease(actor: Actor) -> Callable[[], Any]:
    started = _started(actor)
    return lambda: execution_leases.execution_extend_lease(execution=started, lease_s=1)


def execution_postpone(actor: Actor) -> Callable[[], Any]:
    started = _started(actor)
    return lambda: execution_leases.execution_postpone(execution=started, retry_s=1)


def execution_mark_released(actor: Actor) -> Callable[[], Any]:
    started = _started(actor)
    executions.execution_finish(execution=started, outcome=Outcome(ExecutionStatus.LOST))
    return lambda: executions.execution_mark_released(execution=started)


def execution_mark_sandbox_stopped(actor: Actor) -> Callable[[], Any]:
    started = _started(actor)
    outcome = Outcome(ExecutionStatus.STOPPED, leftover=Leftover.SANDBOX_STOPPING)
    executions.execution_finish(execution=started, outcome=outcome)
    return lambda: executions.execution_mark_sandbox_stopped(execution=started)


def execution_take_lease(actor: Actor) -> Callable[[], Any]:
    started = _started(actor)
    return lambda: execution_leases.execution_take_lease(
        execution_id=started.pk, status=ExecutionStatus.RUNNING, lease_s=1
    )


def executions_shift_start(actor: Actor) -> Callable[[], Any]:
    started = _started(actor)
    return lambda: execution_leases.executions_shift_start(fences={started.pk: started.fence}, by=timedelta(seconds=1))


def executions_expire_leases(actor: Actor) -> Callable[[], Any]:
    _started(actor)
    return execution_leases.executions_expire_leases


CHECKED = {"verify": "make test", "verify_policy": "required"}


def _verifying(actor: Actor, **fields: Any) -> Any:
    """A verification that runs."""
    task = _task(actor, **CHECKED, **fields)
    queued = verifications.verification_request(actor=actor, task_id=task.pk).execution
    admission.executions_admit()
    claimed = executions.execution_claim_start(execution_id=queued.pk, lease_s=60)
    assert claimed is not None
    place = Place(claimed.pk, "sandbox-1", claimed.session_name, "command-1")
    assert executions.execution_mark_started(execution=claimed, place=place)
    return claimed


def _verified(actor: Actor, outcome: Outcome | None = None, **fields: Any) -> Any:
    """A task whose verification has ended."""
    verification = _verifying(actor, **fields)
    ended = outcome or Outcome(ExecutionStatus.COMPLETED, exit_code=0)
    executions.execution_finish(execution=verification, outcome=ended)
    return Task.objects.get(pk=verification.task_id)


def verification_request(actor: Actor) -> Callable[[], Any]:
    task = _task(actor, **CHECKED)
    return lambda: verifications.verification_request(actor=actor, task_id=task.pk)


def verifications_retry(actor: Actor) -> Callable[[], Any]:
    _verified(actor, Outcome(ExecutionStatus.LOST, error_code="sandbox_gone"))
    Execution.objects.update(retry_at=timezone.now() - timedelta(minutes=2))
    return verifications.verifications_retry


def verifications_begin(actor: Actor) -> Callable[[], Any]:
    _task(actor, **CHECKED, status=TaskStatus.REVIEW)
    return verifications.verifications_begin


def verdicts_void(actor: Actor) -> Callable[[], Any]:
    environments.environment_create(actor=actor, name="backend", verify="true", verify_policy="warn")
    _verified(actor, environment="backend")
    environments.environment_update(actor=actor, name="backend", verify="false")
    return verdicts.verdicts_void


def execution_finish_of_a_verification(actor: Actor) -> Callable[[], Any]:
    verifying = _verifying(actor)
    Task.objects.update(verify_failures=2)  # the hub asks
    outcome = Outcome(ExecutionStatus.FAILED, exit_code=1)
    return lambda: executions.execution_finish(execution=verifying, outcome=outcome, log_tail="1 test failed")


def execution_queue_that_supersedes(actor: Actor) -> Callable[[], Any]:
    verifying = _verifying(actor)
    return lambda: executions.execution_queue(actor=actor, task_id=verifying.task_id)


def execution_finish_that_voids(actor: Actor) -> Callable[[], Any]:
    task = _verified(actor)
    run = _run_of(actor, task)
    kept = Kept([Copy("report.md", 5, "artifacts/1", "0" * 64)])
    outcome = Outcome(ExecutionStatus.COMPLETED, exit_code=0)
    return lambda: executions.execution_finish(execution=run, outcome=outcome, kept=kept)


def task_update_that_voids(actor: Actor) -> Callable[[], Any]:
    task = _verified(actor)
    return lambda: tasks.task_update(actor=actor, task_id=task.pk, description="other")


def task_update_that_is_proven(actor: Actor) -> Callable[[], Any]:
    task = _verified(actor)
    return lambda: tasks.task_update(actor=actor, task_id=task.pk, status=TaskStatus.DONE)


def file_changes_tell(actor: Actor) -> Callable[[], Any]:
    started = _started(actor)
    changes = FileChanges(3, [FileChange("created", "a/b", 5), FileChange("deleted", "c", None)], left_out=1)
    return lambda: file_changes.file_changes_tell(execution=started, changes=changes)


def announcement_create(actor: Actor) -> Callable[[], Any]:
    ends_at = timezone.now() + timedelta(hours=1)
    return lambda: announcements.announcement_create(actor=actor, text="t", level="critical", ends_at=ends_at)


def announcement_withdraw(actor: Actor) -> Callable[[], Any]:
    made = announcements.announcement_create(actor=actor, text="t", level="info")
    return lambda: announcements.announcement_withdraw(actor=actor, announcement_id=made.pk)


CASES = [
    announcement_create,
    announcement_withdraw,
    file_changes_tell,
    task_create,
    tasks_create,
    task_update,
    task_claim,
    task_release,
    claims_expire,
    claim_touch,
    note_add,
    task_set_status,
    questions_expire,
    dependency_waive,
    task_delete,
    execution_queue,
    execution_return_to_queue,
    execution_tell_waiting,
    executions_admit,
    admission_note_full,
    admission_note_throttled,
    admission_note_started,
    admission_note_size,
    admission_rule_set,
    execution_claim_start,
    execution_mark_started,
    execution_await,
    execution_mark_set_up,
    execution_mark_begun,
    execution_note_commit,
    execution_note_network_closed,
    execution_request_stop,
    execution_finish,
    execution_mark_ending,
    execution_extend_lease,
    execution_postpone,
    execution_mark_released,
    execution_mark_sandbox_stopped,
    execution_take_lease,
    executions_shift_start,
    executions_expire_leases,
    verification_request,
    verifications_retry,
    verifications_begin,
    verdicts_void,
]
ALSO = [
    execution_finish_of_a_verification,
    execution_queue_that_supersedes,
    execution_finish_that_voids,
    task_update_that_voids,
    task_update_that_is_proven,
    note_add_of_an_answer,
    task_update_of_a_blocker,
    task_update_that_opens_a_blocker,
    task_delete_of_a_blocker,
]
"""Other cases of services that are among the first."""
READ_OR_SHARED = {
    "task_lock",
    "task_apply",
    "task_take",
    "needs_capacity",
    "is_bounded",
    "forget_sums",
    "never",
    "starts_under_way",
    "more_may_start",
    "execution_standing",
    "unbegun",
    "lock_state",
    "guard_ending",
    "executions_seen",
    "execution_active",
    "hub_note_add",
    "files_fields",
    "verdict_fields",
    "verdict_exists",
    "verdict_follow",
    "script_of",
    "task_locked",
    "lease_fields",
    "claims_are_held",
    "questions_have_deadlines",
}


@pytest.mark.parametrize("case", CASES + ALSO, ids=lambda case: case.__name__)
def test_events_explain_what_the_service_did(
    actor: Actor, settings: Any, case: Callable[[Actor], Callable[[], Any]]
) -> None:
    settings.TASKHUB_VERIFY_IN_REVIEW = True
    assert_events_explain(case(actor))


MODULES = (
    *(tasks, claims, dependencies, notes, executions, admission, admission_rules, capacity),
    *(announcements, file_changes, verdicts, verifications, execution_leases, execution_preparation),
)
PARTS = {"order", "task_events", "evidence", "execution_moves"}
"""What publishes in the transaction of these."""


def test_no_module_that_publishes_is_left_out() -> None:
    publishing = {
        path.stem
        for path in Path(inspect.getfile(tasks)).parent.glob("*.py")
        if re.search(r"^from taskhub.events.publish import .*\bpublish\b", path.read_text(), re.MULTILINE)
    }
    assert publishing - PARTS <= {module.__name__.rpartition(".")[2] for module in MODULES}
    assert publishing >= PARTS


def test_no_service_is_left_out() -> None:
    services = {
        name
        for module in MODULES
        for name, found in inspect.getmembers(module, inspect.isfunction)
        if found.__module__ == module.__name__ and not name.startswith("_")
    }
    assert services - READ_OR_SHARED == {case.__name__ for case in CASES}
