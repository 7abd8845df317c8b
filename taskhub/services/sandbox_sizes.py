"""Sizes of executions' sandboxes: expected when they are queued, known when they are made, summed for admission.

An image or a Dockerfile may come with sizes. What an environment says nothing of, and a sandbox without one, have what
the service gives unasked (`USUAL_SIZE`); a snapshot has sizes of its own, known from the last sandbox that was made of
it. What the service says of a sandbox that it has made replaces what was expected.
"""

from __future__ import annotations

from operator import add
from typing import Final, NamedTuple, Protocol

from django.conf import settings
from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from taskhub.executions.executor import Place
from taskhub.models import (
    RESOURCES,
    TO_START,
    USUAL_SIZE,
    EnvironmentVersion,
    Execution,
    ExecutionStatus,
    PreparedSnapshot,
    Resource,
    SandboxSize,
)

WORDS: Final[dict[Resource, str]] = {"cpu": "CPUs", "memory": "GiB of memory", "disk": "GiB of disk"}
SETTINGS: Final[dict[Resource, str]] = {
    "cpu": "TASKHUB_CAPACITY_CPU",
    "memory": "TASKHUB_CAPACITY_MEMORY_GIB",
    "disk": "TASKHUB_CAPACITY_DISK_GIB",
}
STARTED: Final = (ExecutionStatus.STARTING, ExecutionStatus.RUNNING)
_MADE_HERE: Final = Execution.objects.filter(requested_sandbox_id="", released_at__isnull=True)


class Sized(Protocol):
    """An execution, a row of the queue, or a version. None: what the service gives unasked."""

    @property
    def cpu(self) -> int | None: ...

    @property
    def memory(self) -> int | None: ...

    @property
    def disk(self) -> int | None: ...


class Together(NamedTuple):
    """Sandboxes, and what they have together."""

    sandboxes: int
    size: SandboxSize


NOTHING: Final = Together(0, SandboxSize(0, 0, 0))


def size_of(sized: Sized) -> SandboxSize:
    """What its sandbox has, or is expected to have."""
    return SandboxSize(*(getattr(sized, name) or usual for name, usual in USUAL_SIZE._asdict().items()))


def size_expected(version: EnvironmentVersion | None) -> dict[str, int | None]:
    """The fields of an execution that is queued in this version."""
    if version is None:
        return {}
    spec = version.spec
    return {name: getattr(spec, name) or getattr(version, name) for name in RESOURCES}


def size_made(place: Place) -> dict[str, int]:
    """The fields of an execution whose sandbox was made, or was there."""
    return {} if place.size is None else place.size._asdict()


def capacity_limits() -> dict[Resource, int]:
    """What the settings let the sandboxes have together; without those that set no limit."""
    return {name: limit for name, setting in SETTINGS.items() if (limit := int(getattr(settings, setting)))}


def held_sandboxes() -> Together:
    """The sandboxes that executions have made, or are making, and that are not given back yet; and those of prepare."""
    return _with_prepare(_MADE_HERE.filter(Q(status__in=STARTED) | Q(finished_at__isnull=False, attempts__gt=0)))


def made_sandboxes() -> Together:
    """Of these, those that the service is known to have made."""
    return _with_prepare(_MADE_HERE.exclude(sandbox_id=""))


def _with_prepare(executions: QuerySet[Execution]) -> Together:
    """The hub's own sandboxes, in which it runs an environment's prepare, take room as well."""
    found, own = _together(executions), _together(PreparedSnapshot.objects.filter(holds_sandbox=True))
    return Together(found.sandboxes + own.sandboxes, SandboxSize(*map(add, found.size, own.size)))


def _together(rows: QuerySet[Execution] | QuerySet[PreparedSnapshot]) -> Together:
    sums = {f"{name}_sum": Sum(Coalesce(name, usual)) for name, usual in USUAL_SIZE._asdict().items()}
    found = rows.order_by().aggregate(sandboxes=Count("pk"), **sums)
    return Together(found["sandboxes"], SandboxSize(*(found[f"{name}_sum"] or 0 for name in RESOURCES)))


def size_note(*, execution: Execution, size: SandboxSize) -> None:
    """Its sandbox has turned out to have another size than was expected: those that follow in its version have it, too.

    The caller holds the lock of admission, in a transaction.
    """
    version, sizes = execution.environment, size._asdict()
    if version is None:
        return
    EnvironmentVersion.objects.filter(pk=version.pk).update(**sizes)
    to_come = Execution.objects.filter(TO_START | Q(status=ExecutionStatus.QUEUED), environment=version)
    to_come.filter(requested_sandbox_id="", sandbox_id="").update(**sizes)
