"""What the hub knows of sandboxes beside Daytona's object: task, owner, watchers, rights, history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from django.db.models import Count, F, Q, QuerySet, Window
from django.db.models.functions import RowNumber

from sandboxes.errors import SandboxMissing
from sandboxes.gateway import Document
from sandboxes.models import Sandbox, StateChange
from sandboxes.selectors.sandboxes import Reader, names_of
from sandboxes.selectors.subscriptions import subscription_list_for
from sandboxes.services.sandboxes import AT_REST, STARTABLE, STOPPABLE
from taskhub.auth.private_text import visible_executions
from taskhub.auth.sandbox_access import executed_in, hidden_sandboxes
from taskhub.models import Execution
from taskhub.roles import Role, role_of

STATES_SHOWN: Final = 200
EXECUTIONS_SHOWN: Final = 50
CREATE: Final = "create"


@dataclass(frozen=True, slots=True)
class Watcher:
    """`user` is empty for streams that were opened without an account."""

    user: str
    streams: int


@dataclass(slots=True)
class SandboxFacts:
    """`execution` is the newest one in it. `is_own`: the user made it, or asked for that execution.

    `cpu` (number), `memory` and `disk` (GiB) are what it holds now; None where Daytona does not say.
    `watchers` are those whose subscriptions the user may see: its own, all for operators.
    """

    is_own: bool = False
    execution: Execution | None = None
    watchers: list[Watcher] = field(default_factory=list)
    may_start: bool = False
    may_stop: bool = False
    may_delete: bool = False
    may_read_files: bool = False
    cpu: float | None = None
    memory: float | None = None
    disk: float | None = None


@dataclass(frozen=True, slots=True)
class SandboxHistory:
    """The newest first."""

    states: Sequence[StateChange]
    executions: Sequence[Execution]


def sandbox_facts_for(*, user: Reader, documents: Sequence[Document]) -> dict[str, SandboxFacts]:
    """By id, for one page of sandboxes that this user may see; four queries."""
    ids = [str(document["id"]) for document in documents]
    facts = {sandbox_id: SandboxFacts() for sandbox_id in ids}
    name = user.get_username()
    for sandbox_id, execution in _newest_executions(user, documents).items():
        facts[sandbox_id].execution = execution
        facts[sandbox_id].is_own = bool(name) and execution.account == name
    if name:
        made = StateChange.objects.filter(sandbox_id__in=ids, action=CREATE, by=name)
        for sandbox_id in made.values_list("sandbox_id", flat=True):
            facts[sandbox_id].is_own = True
    for sandbox_id, watchers in _watchers(user, ids).items():
        facts[sandbox_id].watchers = watchers
    is_operator = user.is_authenticated and role_of(user) >= Role.OPERATOR
    for document in documents:
        found, state = facts[str(document["id"])], str(document.get("state", ""))
        found.cpu, found.memory, found.disk = _sizes(document, state)
        if is_operator:
            found.may_start, found.may_stop = state in STARTABLE, state in STOPPABLE
            found.may_delete = found.may_read_files = True
    return facts


def sandbox_history_for(*, user: Reader, sandbox_id: str) -> SandboxHistory:
    """What the hub has seen of a sandbox, also after its end. Raises SandboxMissing where it has seen nothing of it."""
    row = Sandbox.objects.filter(Q(pk=sandbox_id) | Q(name=sandbox_id)).only("pk", "name").first()
    names = {sandbox_id} | ({row.pk, row.name} - {""} if row else set())
    if hidden_sandboxes(user=user, names=names):
        raise SandboxMissing
    states = list(StateChange.objects.filter(sandbox_id__in=names).order_by("-id")[:STATES_SHOWN])
    found = executed_in(names).filter(visible_executions(user), task__isnull=False).select_related("task")
    executions = list(_without_texts(found).order_by("-queued_at", "-id")[:EXECUTIONS_SHOWN])
    if row is None and not states and not executions:
        raise SandboxMissing
    return SandboxHistory(states, executions)


def _newest_executions(user: Reader, documents: Sequence[Document]) -> dict[str, Execution]:
    """By the sandbox's id. Until its script runs, an execution is known by the sandbox's name alone."""
    by_name = {name: str(document["id"]) for document in documents for name in names_of(document)}
    nth = Window(RowNumber(), partition_by=F("sandbox_id"), order_by=["-queued_at", "-id"])
    found = executed_in(by_name).filter(visible_executions(user), task__isnull=False)
    named = found.filter(sandbox_id="")
    newest = found.exclude(sandbox_id="").annotate(nth=nth).filter(nth=1)
    return {
        by_name[place]: execution
        for executions in (named, newest)
        for execution in _without_texts(executions.select_related("task"))
        for place in (execution.sandbox_id or execution.session_name,)
        if place in by_name
    }


def _without_texts(executions: QuerySet[Execution]) -> QuerySet[Execution]:
    return executions.defer("script", "env", "secret_env", "task__description", "task__folded_text")


def _watchers(user: Reader, ids: Iterable[str]) -> dict[str, list[Watcher]]:
    rows = subscription_list_for(user=user).filter(sandbox_id__in=list(ids)).order_by("sandbox_id", "user_name")
    watchers: dict[str, list[Watcher]] = defaultdict(list)
    for sandbox_id, name, streams in rows.values_list("sandbox_id", "user_name").annotate(n=Count("pk")):
        watchers[sandbox_id].append(Watcher(name, streams))
    return watchers


def _sizes(document: Document, state: str) -> tuple[float | None, float | None, float | None]:
    cpu, memory, disk = (
        size if isinstance(size := document.get(name), int | float) else None for name in ("cpu", "memory", "disk")
    )
    return (0, 0, disk) if state in AT_REST else (cpu, memory, disk)
