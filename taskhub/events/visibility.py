"""Visibility of events: private tasks, their assignees, and from which to which event others could not read them.

A feed reads both once and then follows the events of tasks, which have the order of the commits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from taskhub.events import outbox
from taskhub.events.channels import TASKS
from taskhub.events.frames import Frame
from taskhub.models import AuditEntry, PrivateReader, Task


class Span(NamedTuple):
    """A private task's assignee, and the first and last event that this account could read; None: still open."""

    account: str
    since: int
    until: int | None

    def holds(self, seq: int) -> bool:
        return self.since <= seq and (self.until is None or seq <= self.until)

    def covers(self, other: Span, after: int) -> bool:
        """Whether it reaches as far as the other one does, of what comes after that event."""
        if self.since > max(other.since, after):
            return False
        return self.until is None or (other.until is not None and other.until <= self.until)


class Privacy:
    """`owners`: the assignee of every task that is private now, or was when it was deleted.

    `spans`: of every task that is or was private, its spans, as far as events of them are kept.
    """

    __slots__ = ("owners", "spans")

    def __init__(self, owners: dict[str, str] | None = None, spans: dict[str, list[Span]] | None = None) -> None:
        self.owners = owners or {}
        self.spans = spans or {}

    def is_public(self, frame: Frame) -> bool:
        """Whether all viewers may see the event, and see the same of it."""
        if frame.loss is not None or frame.gain is not None:
            return False
        return frame.task_id not in self.owners and frame.task_id not in self.spans

    def note(self, frames: Iterable[Frame]) -> None:
        """Apply these frames. A deleted private task stays private."""
        for frame in frames:
            if frame.private:
                # The first is the current assignee, a second one the previous assignee.
                self.owners[frame.task_id] = frame.assignees[0] if frame.assignees else ""
                self._hand_over(frame.task_id, frame.seq, self.owners[frame.task_id])
            elif frame.private is not None:
                self.owners.pop(frame.task_id, None)
                self._close(frame.task_id, frame.seq)

    def _hand_over(self, task_id: str, seq: int, account: str) -> None:
        present = next((span for span in self.spans.get(task_id, ()) if span.until is None), None)
        if present is None or present.account != account:
            self._close(task_id, seq - 1)
            since = present.since if present else seq
            self.spans.setdefault(task_id, []).append(Span(account, since, None))

    def _close(self, task_id: str, last: int) -> None:
        if task_id in self.spans:
            self.spans[task_id] = [
                span._replace(until=last) if span.until is None else span for span in self.spans[task_id]
            ]


def read_privacy(among: Collection[UUID] | None = None) -> Privacy:
    """The privacy of all tasks whose events are kept. `among`: only of these."""
    these = Q() if among is None else Q(task_id__in=among)
    gone = AuditEntry.objects.filter(
        these,
        action="task:delete",
        at__gt=timezone.now() - settings.TASKHUB_EVENTS_KEEP,
        changes__private__isnull=False,
    )
    owners = {
        str(task_id): changes.get("assignee", [""])[0] for task_id, changes in gone.values_list("task_id", "changes")
    }
    private = Task.objects.filter(Q() if among is None else Q(pk__in=among), private=True)
    owners |= {str(pk): assignee for pk, assignee in private.values_list("pk", "assignee")}
    return Privacy(owners, _read_spans(these))


def _read_spans(these: Q) -> dict[str, list[Span]]:
    oldest = next((row.seq for row in outbox.read_after(TASKS, 0, 1)), 0)
    kept = PrivateReader.objects.filter(these, Q(until_event=None) | Q(until_event__gte=oldest))
    spans: dict[str, list[Span]] = {}
    for row in kept.order_by("id"):
        spans.setdefault(str(row.task_id), []).append(Span(row.account, row.since_event, row.until_event))
    return spans
