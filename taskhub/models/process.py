"""Web processes that hold streams, with their last status report."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.utils import timezone

from taskhub.lib.leases import watch


class StreamProcessQuerySet(models.QuerySet["StreamProcess", "StreamProcess"]):
    def living(self, within: timedelta) -> StreamProcessQuerySet:
        """Those that have reported within this time. A report from the future is of a process that died before the
        clock was set back: the others have reported anew."""
        now = timezone.now()
        return self.filter(reported_at__range=(now - within, now + within))

    def not_dead(self, after: timedelta) -> list[str]:
        """The names of all but those that have surely not reported for so long, for jobs that delete what they held.

        By this process's monotonic clock: a wall clock that is set makes no process dead.
        """
        rows = self.values_list("name", "reported_at")
        return [
            name for name, at in rows if not watch.lease_is_past(("process", name, after), at, after.total_seconds())
        ]


class StreamProcess(models.Model):
    """Written by the process itself every few seconds; considered dead if the report is older.

    `report` comes from `events/process_status.py`; its counters start with the process.
    """

    name = models.CharField(primary_key=True, max_length=200, help_text="host:pid:start")
    reported_at = models.DateTimeField(db_index=True)
    report = models.JSONField()

    objects = StreamProcessQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "stream processes"

    def __str__(self) -> str:
        return self.name

    def is_living(self, within: timedelta) -> bool:
        """As in the list `living`."""
        return abs(timezone.now() - self.reported_at) <= within
