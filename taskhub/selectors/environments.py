"""Environments that a caller may use, and the one that a run gets."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import F, Q, QuerySet

from taskhub.auth.actor import Actor
from taskhub.errors import Conflict, Forbidden, NotFound
from taskhub.models import Environment, EnvironmentVersion, PreparedSnapshot, Task
from taskhub.models.environment import NO_ENVIRONMENT
from taskhub.roles import Caller, Role, role_of


def environment_list_for(*, user: Caller | None) -> QuerySet[Environment]:
    """Those that this caller may use: operators all; None is the hub itself."""
    found = Environment.objects.filter(deleted_at=None)
    if user is None or role_of(user) >= Role.OPERATOR:
        return found
    theirs = Q(pk__in=Environment.objects.filter(accounts__account=user.get_username()).values("pk"))
    return found.filter(Q(open_to_all=True) | theirs)


def environment_get_for(*, user: Caller | None, name: str) -> Environment:
    """Raises NotFound, also where the caller may not use it."""
    found = environment_list_for(user=user).filter(name=name).first()
    if found is None:
        raise _not_found()
    return found


def environment_with_id(*, user: Caller | None, environment_id: UUID) -> Environment:
    """Likewise; NotFound also for a deleted one."""
    found = environment_list_for(user=user).filter(pk=environment_id).first()
    if found is None:
        raise _not_found()
    return found


def version_of(environment: Environment, number: int | None = None) -> EnvironmentVersion:
    """The present version, or one before it. Raises NotFound."""
    versions = environment.versions.select_related("prepared")
    found = versions.filter(number=number or environment.version).first()
    if found is None:
        raise NotFound("The environment has no such version.", code="environment_version_not_found")
    return found


def versions_of(environments: list[Environment]) -> list[EnvironmentVersion]:
    """The present version of each, in the order given, in one statement."""
    present = EnvironmentVersion.objects.filter(environment__in=environments, number=F("environment__version"))
    present = present.select_related("prepared")
    by_id = {each.environment_id: each for each in present.order_by()}
    return [by_id[each.pk] for each in environments]


def prepared_of(version: EnvironmentVersion) -> PreparedSnapshot | None:
    """The snapshot of its prepare; None where it has none, or is an old one whose snapshot was deleted."""
    found: PreparedSnapshot | None = getattr(version, "prepared", None) if version.document.get("prepare") else None
    return found


def environments_by_secret() -> dict[str, list[str]]:
    """The names of the environments, sorted, that name an entry of the vault, by the entry's name."""
    found: dict[str, list[str]] = {}
    present = EnvironmentVersion.objects.filter(environment__deleted_at=None, number=F("environment__version"))
    for version in present.order_by("name"):
        for entry in dict.fromkeys(version.spec.secrets.values()):
            found.setdefault(entry, []).append(version.name)
    return found


def environment_for_run(*, actor: Actor, task: Task, named: str | None) -> EnvironmentVersion | None:
    """What a run of the task gets: the one that is named, else the task's, else the setting's, else none.

    None and "" name none; only an operator may ask for no environment at all (`none`).
    Raises NotFound for one that the actor may not use; Forbidden; Conflict where the setting's is missing.
    """
    if named == NO_ENVIRONMENT:
        _guard_none(actor)
        return None
    if named:
        return version_of(environment_get_for(user=actor.user, name=named))
    if task.environment_id is not None:
        return version_of(environment_with_id(user=actor.user, environment_id=task.environment_id))
    return _default(actor)


def environment_for_task(*, actor: Actor, named: str) -> Environment | None:
    """What a task is to name; None for `none`, with which operators take a name away.

    Raises NotFound for one that the actor may not use; Forbidden.
    """
    if named == NO_ENVIRONMENT:
        _guard_none(actor)
        return None
    return environment_get_for(user=actor.user, name=named)


class TaskEnvironment(NamedTuple):
    """As a reader of the task sees it. `environment_hidden`: there is one, and the reader may not use it."""

    environment: str | None
    environment_hidden: bool


def environment_of_task(*, user: Caller | None, task: Task) -> TaskEnvironment:
    if task.environment_id is None:
        return TaskEnvironment(None, environment_hidden=False)
    found = environment_list_for(user=user).filter(pk=task.environment_id).first()
    return TaskEnvironment(found.name if found else None, environment_hidden=found is None)


def _guard_none(actor: Actor) -> None:
    if actor.user is not None and role_of(actor.user) < Role.OPERATOR:
        raise Forbidden("Only operators may run without an environment.", code="environment_required")


def _default(actor: Actor) -> EnvironmentVersion | None:
    name = settings.TASKHUB_DEFAULT_ENVIRONMENT
    if not name:
        return None
    found = environment_list_for(user=actor.user).filter(name=name).first()
    if found is None:
        raise Conflict(
            f"This hub runs scripts in the environment {name}, which does not exist or is not open to all; tell its "
            "operator.",
            code="default_environment_missing",
        )
    return version_of(found)


def _not_found() -> NotFound:
    return NotFound("Environment not found.", code="environment_not_found")
