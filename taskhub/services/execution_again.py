"""Repeat an execution: its script, environment, limits and plain variables; secret values are given anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from taskhub.auth.actor import Actor
from taskhub.errors import Conflict, Forbidden, Invalid
from taskhub.executions.masking import Secret
from taskhub.models import Execution, Task
from taskhub.models.environment import NO_ENVIRONMENT
from taskhub.roles import Role, role_of
from taskhub.selectors.environments import environment_with_id
from taskhub.selectors.executions import execution_to_repeat_for
from taskhub.services.executions import execution_queue


@transaction.atomic
def execution_again(
    *,
    actor: Actor,
    task_id: UUID,
    again: UUID,
    script: str | None = None,
    env: Mapping[str, str | Secret] | None = None,
    environment: str | None = None,
    **fields: Any,
) -> Execution:
    """Queue what the run `again` of this task ran; what is given here is taken instead, variables one by one.

    Its environment is that of its name, in the present version and with the caller's present right to it. Neither its
    sandbox nor its given files are repeated. Raises as `execution_queue` does; NotFound for a run that the actor may
    not see, or that is another task's or a verification; Conflict (`script_expired`) where its script was deleted with
    its log; Invalid (`values_needed`), which names the variables whose values are not kept and not given.
    """
    run = execution_to_repeat_for(user=actor.user, task_id=task_id, execution_id=again)
    if script is None and not run.script:
        words = "The script of that execution was deleted with its log; give script_content."
        raise Conflict(words, code="script_expired")
    return execution_queue(
        actor=actor,
        task_id=task_id,
        script=run.script if script is None else script,
        env=_variables(run, env or {}),
        environment=environment or _environment(actor, run, task_id),
        **{**_ways(run), **fields},
    )


def _ways(run: Execution) -> dict[str, Any]:
    return {"timeout_s": run.timeout_s, "merge_output": run.merge_output, "all_files": run.all_files}


def _variables(run: Execution, given: Mapping[str, str | Secret]) -> dict[str, str | Secret]:
    """Raises Invalid. A value that was secret stays so: as a plain one it would be kept and shown."""
    were: dict[str, bool] = run.variables or {}
    found: dict[str, str | Secret] = {**run.env, **given}
    needed = sorted(name for name, is_secret in were.items() if not _is_given(found.get(name), is_secret=is_secret))
    if needed:
        words = f"Secret values are not kept; give these anew in env: {', '.join(needed)}."
        how = ['Send {"value": …, "secret": true}.']
        raise Invalid(words, code="values_needed", details={"env": dict.fromkeys(needed, how)})
    return found


def _is_given(value: str | Secret | None, *, is_secret: bool) -> bool:
    return isinstance(value, Secret) if is_secret else value is not None


def _environment(actor: Actor, run: Execution, task_id: UUID) -> str | None:
    """Its name; `none` where it had no environment and one is in force now, so that it does not run elsewhere unasked.

    Raises NotFound for one that was deleted, even if another has its name now, or that the actor may not use.
    """
    if run.environment is not None:
        return environment_with_id(user=actor.user, environment_id=run.environment.environment_id).name
    of_task = Task.objects.filter(pk=task_id, environment__isnull=False)
    if not settings.TASKHUB_DEFAULT_ENVIRONMENT and not of_task.exists():
        return None
    if actor.user is not None and role_of(actor.user) < Role.OPERATOR:
        words = "That execution had no environment, and the task has one now: name it in environment."
        raise Forbidden(words, code="environment_required")
    return NO_ENVIRONMENT
