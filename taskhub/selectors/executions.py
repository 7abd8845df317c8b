"""Executions of tasks that a user may see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery

from taskhub.auth.private_text import unreadable, visible_executions
from taskhub.errors import NotFound
from taskhub.models import Execution, ExecutionKind, Task
from taskhub.roles import Role, role_of
from taskhub.selectors.environments import environment_list_for
from taskhub.selectors.tasks import task_get_for
from taskhub.selectors.words import in_any_of, with_each_word


def execution_get_for(*, user: User | AnonymousUser, task_id: UUID, execution_id: UUID | None = None) -> Execution:
    """An execution of the task, by default the newest run; without its script and environment.

    Raises NotFound for the task, for the execution, or if the task was never executed.
    """
    task = task_get_for(user=user, task_id=task_id)
    executions = _shown(task.executions.exclude(unreadable(user)))
    executions = executions.order_by("-queued_at", "-id")
    named = {"kind": ExecutionKind.RUN} if execution_id is None else {"pk": execution_id}
    executions = executions.filter(**named)
    execution = executions.first()
    if execution is None:
        raise NotFound("The task has no such execution.", code="execution_not_found")
    return execution


def execution_list_for(*, user: User | AnonymousUser) -> QuerySet[Execution]:
    """The executions of all tasks that this user may see, without scripts and environments.

    One that ran while its task was private is for those who could read it then, also once the task is public.
    """
    found = Execution.objects.filter(visible_executions(user), task__isnull=False)
    return _shown(found)


def _shown(executions: QuerySet[Execution]) -> QuerySet[Execution]:
    """With the name of the environment, without what may be long."""
    return executions.select_related("environment").defer(
        "script", "env", "variables", "error_detail", "environment__document"
    )


def execution_find_for(*, user: User | AnonymousUser, execution_id: UUID) -> Execution:
    """An execution by its id alone. Raises NotFound, also if its task was deleted or the user may not see it."""
    try:
        return execution_list_for(user=user).get(pk=execution_id)
    except Execution.DoesNotExist:
        raise NotFound("Execution not found.", code="execution_not_found") from None


def execution_with_script_for(*, user: User | AnonymousUser, execution_id: UUID) -> Execution:
    """Likewise, with its script. Raises NotFound.

    That of a verification has the environment's own: it is empty for readers who may not use the environment. What the
    sandbox service said (`error_detail`) is for operators.
    """
    try:
        found = execution_list_for(user=user).defer(None).defer("env").get(pk=execution_id)
    except Execution.DoesNotExist:
        raise NotFound("Execution not found.", code="execution_not_found") from None
    if not _may_read_script(user, found):
        found.script = ""
    if role_of(user) < Role.OPERATOR:
        found.error_detail = ""
    return found


def _may_read_script(user: User | AnonymousUser, execution: Execution) -> bool:
    version = execution.environment
    if not execution.is_verification or version is None or not version.spec.verify or role_of(user) >= Role.OPERATOR:
        return True
    return environment_list_for(user=user).filter(pk=version.environment_id).exists()


def execution_to_repeat_for(*, user: User | AnonymousUser | None, task_id: UUID, execution_id: UUID) -> Execution:
    """A run of the task with all that it is repeated from. Raises NotFound, also if the user may not see it."""
    found = Execution.objects.all() if user is None else execution_list_for(user=user)
    runs = found.defer(None).select_related("environment").defer("secret_env")
    run = runs.filter(pk=execution_id, task=task_id, kind=ExecutionKind.RUN).first()
    if run is None:
        raise NotFound("The task has no such execution.", code="execution_not_found")
    return run


def executions_of_id(executions: QuerySet[Execution], some_id: UUID) -> QuerySet[Execution]:
    """For operators: the execution of this id, or those of the task."""
    return executions.filter(Q(pk=some_id) | Q(task=some_id))


def executions_searched(executions: QuerySet[Execution], text: str) -> QuerySet[Execution]:
    """For operators: those that have each word in the task's title or the sandbox's id."""
    return with_each_word(executions, text, in_any_of("sandbox_id", "task__title"))


@dataclass(frozen=True, slots=True)
class Runs:
    """How many executions a task has, and the status of the newest run; empty without any."""

    count: int
    last_status: str


def runs_of(task_ids: Iterable[UUID]) -> dict[UUID, Runs]:
    """For operators: the executions of these tasks, in one statement."""
    runs = Execution.objects.filter(task=OuterRef("pk"))
    counted = runs.order_by().values("task").annotate(count=Count("pk")).values("count")
    newest = runs.filter(kind=ExecutionKind.RUN).order_by("-queued_at", "-id").values("status")[:1]
    tasks = Task.objects.filter(pk__in=list(task_ids)).order_by()
    rows = tasks.annotate(runs=Subquery(counted), last_status=Subquery(newest)).values_list("pk", "runs", "last_status")
    return {pk: Runs(count or 0, last_status or "") for pk, count, last_status in rows}


def task_executions_for(*, user: User | AnonymousUser, task_id: UUID) -> QuerySet[Execution]:
    """The executions of the task. Raises NotFound for the task."""
    return execution_list_for(user=user).filter(task=task_get_for(user=user, task_id=task_id))
