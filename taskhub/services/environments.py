"""Environments: create, change, delete. Each save makes a version, which is never changed again."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from taskhub.auth.actor import Actor
from taskhub.errors import Conflict, HubError, NotFound
from taskhub.executions.environment_look import NO_LOOK, Look
from taskhub.models import RESOURCES, Environment, EnvironmentAccount, EnvironmentSpec, EnvironmentVersion
from taskhub.models.environment import SOURCES
from taskhub.selectors.environments import environment_get_for, version_of
from taskhub.services.audit import audit_write
from taskhub.services.dispatch import VERDICTS_VOID, send_job_on_commit
from taskhub.services.environment_repositories import credential_apart, credential_save, credentials_trim
from taskhub.services.environment_rules import guard_name, guard_spec, invalid
from taskhub.services.evidence import evidence_clean
from taskhub.services.prepared_snapshots import snapshot_ask, snapshot_ask_again

ENVIRONMENTS_LIMIT: Final = 200


def environment_draft(*, name: str | None, **fields: Any) -> EnvironmentSpec | None:
    """What a save would make, for a look at the sandbox service (`environment_look`) before its transaction.

    `name` is that of a present environment; None makes a new one. None where the save will refuse it, and say why.
    """
    try:
        before = _drafted_from(name)
        fields, _ = credential_apart(evidence_clean(fields), before.repository)
        spec = EnvironmentSpec.read({**before.document(), **fields})
        guard_spec(spec)
    except HubError:
        return None
    return spec


def _drafted_from(name: str | None) -> EnvironmentSpec:
    if name is None:
        return EnvironmentSpec()
    return version_of(environment_get_for(user=None, name=name)).spec


@transaction.atomic
def environment_create(*, actor: Actor, name: str, look: Look = NO_LOOK, **fields: Any) -> EnvironmentVersion:
    """The first version of a new environment; `fields` are those of EnvironmentSpec, as its `document` has them.

    A repository's credential is `{"username", "token", "hosts"}`. `look`: what the sandbox service said of it.

    Raises Invalid for values that do not go together, and for names that the sandbox service does not have; Conflict
    for a name that is taken, and beyond 200 environments.
    """
    guard_name(name)
    fields, credential = credential_apart(evidence_clean(fields), None)
    spec = EnvironmentSpec.read(fields)
    guard_spec(spec)
    _guard_look(look, spec, EnvironmentSpec())
    present = Environment.objects.select_for_update().filter(deleted_at=None)
    if present.filter(name=name).exists():
        raise _exists()
    if present.count() >= ENVIRONMENTS_LIMIT:
        words = f"The limit of {ENVIRONMENTS_LIMIT} environments is reached; delete one first."
        raise Conflict(words, code="too_many_environments")
    _guard_default(name, spec)
    try:
        with transaction.atomic():
            environment = Environment.objects.create(name=name, created_by=actor.name)
    except IntegrityError:
        # On PostgreSQL another one may have been made since the look.
        raise _exists() from None
    version = _save(actor, environment, spec, look, None)
    credential_save(environment, spec.repository, credential)
    return version


@transaction.atomic
def environment_update(*, actor: Actor, name: str, look: Look = NO_LOOK, **fields: Any) -> EnvironmentVersion:
    """Set the given fields; what is queued already keeps its version. A call that changes nothing makes none, and has
    a snapshot that was not made tried again.

    `look`: what the sandbox service said of it. What it does not have refuses only a save that gives its name.

    Raises NotFound, Invalid; Conflict where the environment is the hub's default and would not be open to all.
    """
    environment = _locked(name)
    before = environment.versions.get(number=environment.version)
    fields, credential = credential_apart(evidence_clean(fields), before.spec.repository)
    spec = EnvironmentSpec.read({**before.document, **fields})
    guard_spec(spec)
    _guard_look(look, spec, before.spec)
    _guard_default(name, spec)
    if not _changed(before.spec, spec):
        told = {"unchecked": look.unchecked(spec), **_size_known(spec, look, before)}
        if any(getattr(before, name) != value for name, value in told.items()):
            before.__dict__ |= told
            before.save(update_fields=list(told))
        snapshot_ask_again(version=before)
        return before
    environment.version += 1
    version = _save(actor, environment, spec, look, before)
    credential_save(environment, spec.repository, credential)
    return version


@transaction.atomic
def environment_delete(*, actor: Actor, name: str) -> None:
    """Free the name. What is queued or runs in it goes on. Raises NotFound; Conflict for the hub's default."""
    environment = _locked(name)
    if name == settings.TASKHUB_DEFAULT_ENVIRONMENT:
        words = "It is the hub's default: change TASKHUB_DEFAULT_ENVIRONMENT first."
        raise Conflict(words, code="default_environment")
    environment.deleted_at = timezone.now()
    environment.save(update_fields=["deleted_at", "updated_at"])
    credentials_trim(environment)
    audit_write(
        actor=actor,
        action="environment:delete",
        subject=f"environment:{name}",
        changes={"version": [environment.version, None]},
    )


def _save(
    actor: Actor, environment: Environment, spec: EnvironmentSpec, look: Look, before: EnvironmentVersion | None
) -> EnvironmentVersion:
    environment.open_to_all = spec.allowed is None
    environment.save()
    environment.accounts.all().delete()
    EnvironmentAccount.objects.bulk_create(
        EnvironmentAccount(environment=environment, account=account) for account in spec.allowed or ()
    )
    version = EnvironmentVersion.objects.create(
        environment=environment,
        name=environment.name,
        number=environment.version,
        document=spec.document(),
        unchecked=look.unchecked(spec),
        made_by=actor.name,
        **_size_known(spec, look, before),
    )
    snapshot_ask(version=version)
    if before is not None:
        send_job_on_commit(VERDICTS_VOID)  # of what was checked in the version before
    # The values are in the versions; an entry says which fields changed.
    number = environment.version
    audit_write(
        actor=actor,
        action="environment:create" if before is None else "environment:update",
        subject=f"environment:{environment.name}",
        changes={
            "version": [number - 1 or None, number],
            "fields": [None, _changed(before.spec if before is not None else EnvironmentSpec(), spec)],
        },
    )
    return version


def _size_known(spec: EnvironmentSpec, look: Look, before: EnvironmentVersion | None) -> dict[str, int | None]:
    """The fields of a version that say what its sandboxes have: its first executions are counted by them."""
    if (size := look.size_of(spec)) is not None:
        return dict(size._asdict())
    if before is None or any(getattr(before.spec, name) != getattr(spec, name) for name in SOURCES):
        return {}
    return {name: getattr(before, name) for name in RESOURCES}


def _changed(before: EnvironmentSpec, after: EnvironmentSpec) -> list[str]:
    old, new = before.document(), after.document()
    return [name for name in new if old[name] != new[name]]


def _guard_look(look: Look, spec: EnvironmentSpec, before: EnvironmentSpec) -> None:
    if wrong := look.refusals(spec, before):
        raise invalid(**wrong)


def _guard_default(name: str, spec: EnvironmentSpec) -> None:
    if name == settings.TASKHUB_DEFAULT_ENVIRONMENT and spec.allowed is not None:
        words = "It is the hub's default (TASKHUB_DEFAULT_ENVIRONMENT), and must be open to all."
        raise Conflict(words, code="default_environment")


def _exists() -> Conflict:
    return Conflict("An environment of this name exists already; choose another name.", code="environment_exists")


def _locked(name: str) -> Environment:
    environment = Environment.objects.select_for_update().filter(name=name, deleted_at=None).first()
    if environment is None:
        raise NotFound("Environment not found.", code="environment_not_found")
    return environment
