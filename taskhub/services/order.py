"""Order between tasks: dependencies without cycles, and the counter of open blockers that claims look at.

The counter (`Task.open_blockers`) changes in the transaction that opens or closes a blocker, or changes the relation.
On PostgreSQL such transactions take one lock, before they lock any task (`order_lock`): so two writers cannot close a
cycle together, none reads a blocker's status that another is changing, and their locks on dependents cannot wait for
each other. SQLite has one writer at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final
from uuid import UUID

from django.db import connection

from taskhub.auth.actor import Actor
from taskhub.errors import Conflict, Invalid
from taskhub.events.publish import publish
from taskhub.events.types import TaskUpdated
from taskhub.models import Dependency, Task, TaskStatus
from taskhub.roles import visible_tasks
from taskhub.services.task_events import task_state, task_tell_ready

BLOCKERS_MOST: Final = 100
_LOCK: Final = 0x7461736B_6F726472
"""The advisory lock's number: any that nothing else in the database uses."""
_ABOVE: Final = """
    WITH RECURSIVE above(id) AS (
        SELECT blocker_id FROM taskhub_dependency WHERE task_id IN ({places})
        UNION
        SELECT d.blocker_id FROM taskhub_dependency d JOIN above ON d.task_id = above.id
    )
    SELECT 1 FROM above WHERE id = %s
"""


class Cycle(Conflict):
    default_code = "dependency_cycle"


def order_lock() -> None:
    """One transaction at a time that may open or close blockers; before it locks a task, until it ends."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def order_lock_if_done(task_id: UUID) -> None:
    """Likewise where the task is done: its next status opens it as a blocker."""
    if connection.vendor == "postgresql" and Task.objects.filter(pk=task_id, status=TaskStatus.DONE).exists():
        order_lock()


def order_lock_now() -> None:
    """The lock, where a task is locked already and so must not be waited for; free if this transaction has it.

    Raises Conflict (`order_busy`): the task was done between the look of `order_lock_if_done` and the task's own lock.
    """
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        (is_ours,) = cursor.fetchone()
    if not is_ours:
        raise Conflict("The task was done at this very moment; read it again and repeat the change.", code="order_busy")


def is_open(blocker: Task, dependency: Dependency) -> bool:
    """Whether the dependency still holds its task up."""
    if blocker.status != TaskStatus.DONE:
        return True
    return bool(blocker.closed_as) and not dependency.waived_by


def order_set(*, actor: Actor, task: Task, blockers: Collection[UUID]) -> list[list[str]] | None:
    """Replace the blockers of the locked task that the actor may see, and count anew: `[before, after]`, as ids.

    None if nothing changes. The caller holds the order's lock, and writes `task.open_blockers`. Raises Invalid for an
    unknown task, Cycle.
    """
    known = {row.blocker_id: row for row in task.dependencies.select_related("blocker")}
    seen = set(Task.objects.filter(visible_tasks(actor.user), pk__in=[*known, *blockers]).values_list("pk", flat=True))
    wanted = set(blockers)
    _guard_blockers(task, wanted, seen)
    removed, added = (known.keys() & seen) - wanted, wanted - known.keys()
    if not removed and not added:
        return None
    _guard_cycle(task, added)
    Dependency.objects.filter(task=task, blocker__in=removed).delete()
    Dependency.objects.bulk_create([Dependency(task=task, blocker_id=pk) for pk in sorted(added)])
    task.open_blockers = count_open(task)
    after = (known.keys() - removed) | added
    return [_ids(known), _ids(after)]


def _ids(tasks: Iterable[UUID]) -> list[str]:
    return sorted(map(str, tasks))


def _guard_blockers(task: Task, wanted: set[UUID], seen: set[UUID]) -> None:
    if len(wanted) > BLOCKERS_MOST:
        raise Invalid(
            f"A task may have at most {BLOCKERS_MOST} blockers.", details={"blocked_by": [f"At most {BLOCKERS_MOST}."]}
        )
    if unknown := _ids(wanted - seen):
        raise Invalid("Some blockers do not exist.", details={"blocked_by": [f"Not a task: {', '.join(unknown[:5])}."]})
    if task.pk in wanted:
        raise Cycle("A task cannot wait for itself.")


def _guard_cycle(task: Task, added: set[UUID]) -> None:
    if not added:
        return
    key = Task._meta.pk  # noqa: SLF001 - Django's documented name
    values = [key.get_db_prep_value(pk, connection) for pk in sorted(added)]
    sql = _ABOVE.format(places=", ".join(["%s"] * len(values)))
    with connection.cursor() as cursor:
        cursor.execute(sql, [*values, key.get_db_prep_value(task.pk, connection)])
        if cursor.fetchone() is not None:
            raise Cycle("These tasks would wait for each other; leave out the blocker that waits for this task.")


def count_open(task: Task) -> int:
    """The open blockers of the task, from the relation."""
    return sum(is_open(row.blocker, row) for row in task.dependencies.select_related("blocker"))


class Follow:
    """The dependents of a task whose status, `closed_as` or existence changes. Their rows are locked, in one order.

    Made before the change, with the order's lock; `settle` after it, and before the task's own event is published:
    events are published after all locks, so that they have the order of the changes. Raises Conflict (`order_busy`)
    without the lock.
    """

    def __init__(self, blocker: Task) -> None:
        order_lock_now()
        self._rows = {row.task_id: row for row in blocker.dependents.all()}
        locked = Task.objects.select_for_update().filter(pk__in=self._rows).order_by("pk")
        self._tasks = list(locked.defer("description", "folded_text")) if self._rows else []
        self._before = {pk: is_open(blocker, row) for pk, row in self._rows.items()}
        self._moved: list[tuple[Task, bool]] = []

    def settle(self, blocker: Task | None) -> None:
        """Count the dependents anew. `blocker`: as it is now; None if it was deleted."""
        for task in self._tasks:
            was_open = self._before[task.pk]
            now_open = blocker is not None and is_open(blocker, self._rows[task.pk])
            if was_open == now_open:
                continue
            was_ready = task.ready
            task.open_blockers += 1 if now_open else -1
            task.save(update_fields=["open_blockers"])
            if was_ready != task.ready:
                self._moved.append((task, task.ready))

    def tell(self) -> None:
        """Publish which dependents are ready from here on, and which are not any more."""
        for task, is_ready in self._moved:
            if is_ready:
                task_tell_ready(task)
            else:
                publish(TaskUpdated(**task_state(task), changed=["ready"], previous={}, reason="blocked"))


def blocked_error(actor: Actor, task: Task) -> Conflict:
    """What an agent is told that wants a blocked task."""
    seen = task.dependencies.filter(visible_tasks(actor.user, prefix="blocker__")).select_related("blocker")
    ids = _ids(row.blocker_id for row in seen if is_open(row.blocker, row))
    details = {"blocked_by": ids, "blocked_by_hidden": max(0, task.open_blockers - len(ids))}
    return Conflict("Tasks that this one waits for are not done.", code="blocked", details=details)
