"""The environment of an execution: chosen, checked and fixed when it is queued."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.utils import timezone

from taskhub.auth.actor import Actor
from taskhub.auth.sandbox_access import executed_in
from taskhub.errors import Invalid
from taskhub.executions.masking import Secret
from taskhub.models import EnvironmentVersion, Execution, ExecutionKind, Task
from taskhub.roles import viewer_of
from taskhub.selectors.environments import environment_for_run, environment_with_id
from taskhub.services.execution_inputs import ENV_BYTES, ENV_LIMIT, env_bytes


class Wanted(NamedTuple):
    """What a request asks for: an environment's name, the id of an existing sandbox or "", seconds, and variables."""

    environment: str | None
    sandbox_id: str
    timeout_s: int | None
    env: Mapping[str, str | Secret]


class Chosen(NamedTuple):
    """What an execution runs in, and for how long at most."""

    version: EnvironmentVersion | None
    timeout_s: int


def environment_choose(*, actor: Actor, task: Task, wanted: Wanted) -> Chosen:
    """Raises NotFound, Forbidden and Conflict as `environment_for_run` does.

    Raises Invalid for a sandbox that was not made for this task in this version, for a time above the environment's,
    and for too many variables; without an environment NotFound for a sandbox of one that the actor may not use.
    """
    timeout_s = wanted.timeout_s
    version = environment_for_run(actor=actor, task=task, named=wanted.environment)
    if version is None:
        if wanted.sandbox_id:
            _guard_made_in(actor, wanted.sandbox_id)
        return Chosen(None, timeout_s or time_limit_of(None))
    if wanted.sandbox_id:
        _guard_sandbox(version, task, wanted.sandbox_id)
    spec = version.spec
    _guard_variables({**spec.secrets, **spec.env, **wanted.env})
    most = spec.timeout_max_s
    if timeout_s is not None and most is not None and timeout_s > most:
        words = f"May be at most {most} in the environment {version.name}."
        raise Invalid(words, code="timeout_above_maximum", details={"timeout_s": [words]})
    return Chosen(version, timeout_s or time_limit_of(version))


def time_limit_of(version: EnvironmentVersion | None) -> int:
    """Seconds that a script may run in this environment where no request says."""
    usual: int = settings.TASKHUB_EXECUTION_TIMEOUT_S
    if version is None:
        return usual
    return version.spec.timeout_s or min(usual, version.spec.timeout_max_s or usual)


def _guard_sandbox(version: EnvironmentVersion, task: Task, sandbox_id: str) -> None:
    """Another one would have another image, size and network than the environment promises."""
    if version.spec.locks:
        words = "The environment closes the network of a sandbox after its first setup; leave out sandbox_id."
        raise Invalid(words, code="sandbox_not_of_environment", details={"sandbox_id": [words]})
    runs = task.executions.filter(kind=ExecutionKind.RUN, environment=version)
    made = runs.filter(sandbox_id=sandbox_id, requested_sandbox_id="")
    if not made.exists():
        words = (
            f"The sandbox was not made for this task in version {version.number} of the environment {version.name}; "
            "leave out sandbox_id and same_sandbox."
        )
        raise Invalid(words, code="sandbox_not_of_environment", details={"sandbox_id": [words]})


def _guard_made_in(actor: Actor, sandbox_id: str) -> None:
    """It has the image and the network of the environment that it was made in."""
    if viewer_of(actor.user) is None:
        return
    made = executed_in([sandbox_id]).filter(requested_sandbox_id="", environment__isnull=False)
    environment_id = made.values_list("environment__environment_id", flat=True).first()
    if environment_id is not None:
        environment_with_id(user=actor.user, environment_id=environment_id)


def _guard_variables(env: Mapping[str, str | Secret]) -> None:
    too_many = len(env) > ENV_LIMIT
    if too_many or env_bytes(env) > ENV_BYTES:
        most = f"{ENV_LIMIT} variables" if too_many else f"{ENV_BYTES} bytes"
        words = f"At most {most} with those of the environment."
        raise Invalid(words, details={"env": [words]})


def ended_now(execution: Execution) -> dict[str, datetime | None]:
    """The fields of an execution that ends now; its sandbox is kept for as long as its environment says."""
    now, version = timezone.now(), execution.environment
    keep_s = version.spec.keep_sandbox_s if version is not None else None
    return {"finished_at": now, "kept_until": None if keep_s is None else now + timedelta(seconds=keep_s)}
