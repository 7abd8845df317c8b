"""Verifications, for tests: asked for and ended without a sandbox."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from taskhub.auth.actor import Actor
from taskhub.executions.artifact_collector import Copy, Kept
from taskhub.executions.executor import Place
from taskhub.models import Execution, ExecutionStatus, Task
from taskhub.services import admission, executions
from taskhub.services.executions import Outcome
from taskhub.services.verifications import verification_request

PASSED = Outcome(ExecutionStatus.COMPLETED, exit_code=0)
FAILED = Outcome(ExecutionStatus.FAILED, exit_code=1)


def begun(execution: Execution) -> Execution:
    """The queued execution, running."""
    admission.executions_admit()
    claimed = executions.execution_claim_start(execution_id=execution.pk, lease_s=60)
    assert claimed is not None
    place = Place(claimed.pk, "sandbox-1", claimed.session_name, "command-1")
    assert executions.execution_mark_started(execution=claimed, place=place)
    return claimed


def ended(execution: Execution, outcome: Outcome = PASSED, **more: Any) -> Execution:
    """The queued execution, ended like this."""
    running = begun(execution)
    assert executions.execution_finish(execution=running, outcome=outcome, **more)
    return running


def ran(actor: Actor, task_id: UUID, **files: str) -> Execution:
    """A run of the task that has left these files: names, and digests of their contents."""
    queued = executions.execution_queue(actor=actor, task_id=task_id, script="make")
    kept = Kept([Copy(name, 1, f"artifacts/{n}", digest) for n, (name, digest) in enumerate(files.items())])
    return ended(queued, kept=kept)


def verified(actor: Actor, task_id: UUID, outcome: Outcome = PASSED, **more: Any) -> Task:
    """The task, after a verification that has ended like this."""
    asked = verification_request(actor=actor, task_id=task_id)
    assert asked.is_new
    ended(asked.execution, outcome, **more)
    return Task.objects.get(pk=task_id)
