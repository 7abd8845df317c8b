"""Retention of logs: the archive is deleted, with script and plain variables. The execution's row stays."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from taskhub.executions import log_archive
from taskhub.models import ACTIVE_STATUSES, Execution

_BATCH: Final = 1000


def logs_trim(*, before: datetime) -> int:
    """Delete logs, scripts and plain variables of executions that ended before then. Returns for how many."""
    old = Execution.objects.filter(finished_at__lt=before).exclude(status__in=ACTIVE_STATUSES)
    due = old.exclude(script="", env={}, log_lines=None).order_by("finished_at")
    found = list(due.values_list("pk", "log_file")[:_BATCH])
    for _, name in found:
        # The files first: a process that dies here leaves a row, which the next run finds.
        log_archive.delete(name)
    deleted: dict[str, object] = {"script": "", "env": {}, "log_lines": None, "log_truncated": False}
    Execution.objects.filter(pk__in=[pk for pk, _ in found]).update(**deleted)
    return len(found)
