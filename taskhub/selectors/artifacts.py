"""Artifacts of a task's executions."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.models import AnonymousUser, User

from taskhub.errors import NotFound
from taskhub.models import Artifact, Execution
from taskhub.selectors.executions import execution_list_for
from taskhub.selectors.tasks import task_get_for


def artifact_get_for(*, user: User | AnonymousUser, task_id: UUID, artifact_id: UUID) -> Artifact:
    """One of the task's artifacts. Raises NotFound for the task and for the artifact."""
    task = task_get_for(user=user, task_id=task_id)
    try:
        return Artifact.objects.get(pk=artifact_id, execution__in=execution_list_for(user=user).filter(task=task))
    except Artifact.DoesNotExist:
        raise NotFound("The task has no such artifact.", code="artifact_not_found") from None


def artifact_named(*, execution: Execution, path: str) -> Artifact:
    """The file of an execution that the caller has been let see. Raises NotFound."""
    artifact = execution.artifacts.filter(path=path).first()
    if artifact is None:
        raise _not_found(execution, "No such file.")
    return artifact


def artifact_list_of(*, execution: Execution) -> list[Artifact]:
    """The files of an execution that the caller has been let see. Raises NotFound where there is none."""
    artifacts = list(execution.artifacts.all())
    if not artifacts:
        raise _not_found(execution, "The execution left no files.")
    return artifacts


def _not_found(execution: Execution, message: str) -> NotFound:
    early = "The execution has not ended; its files are kept then."
    return NotFound(early if execution.is_active else message, code="artifact_not_found")
