"""Stale tasks: work that no agent seems to do any more."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import DateTimeField, Exists, F, Func, OuterRef, Q

from taskhub.models import ACTIVE_STATUSES, Claim, Execution, ExecutionKind, TaskStatus
from taskhub.selectors.claims import is_kept


class SilentAt(Func):
    """When a holder has surely been silent for half its lease: `SilentAt(F("expires_at"), F("lease_s"))`.

    A sixth of the lease before its end: a call in the first third of a lease is not written (`services/leases.py`), so
    the last call may be a third later than the row says.
    """

    output_field = DateTimeField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "(%(expressions)s * interval '1 second' / 6)"
        return self.as_sql(compiler, connection, template=template, arg_joiner=" - ", **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "strftime('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f', %(expressions)s / 6.0) || ' seconds')"
        return self.as_sql(compiler, connection, template=template, arg_joiner=", (-", **context)


def stale_tasks(now: datetime) -> Q:
    """Condition on tasks that are `inprogress`, and

    * have no holder, and for `TASKHUB_STALE_AFTER_S` no change and no execution, or
    * have a holder that was silent for half its lease, where that lease can run out.
    """
    since = now - timedelta(seconds=settings.TASKHUB_STALE_AFTER_S)
    runs = Execution.objects.filter(kind=ExecutionKind.RUN, task=OuterRef("pk"))
    recent = runs.filter(Q(status__in=ACTIVE_STATUSES) | Q(finished_at__gt=since))
    left_alone = Q(holder="", updated_at__lte=since) & ~Exists(recent)
    held = Claim.objects.filter(task=OuterRef("pk"), ended_at__isnull=True)
    silent = held.alias(silent_at=SilentAt(F("expires_at"), F("lease_s"))).filter(silent_at__lte=now)
    return Q(status=TaskStatus.INPROGRESS) & (left_alone | Exists(silent.filter(~is_kept(now))))
