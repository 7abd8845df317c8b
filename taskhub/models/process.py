"""Web processes that hold streams, with their last status report."""

from __future__ import annotations

from django.db import models


class StreamProcess(models.Model):
    """Written by the process itself every few seconds; considered dead if the report is older.

    `report` comes from `events/process_status.py`; its counters start with the process.
    """

    name = models.CharField(primary_key=True, max_length=200, help_text="host:pid:start")
    reported_at = models.DateTimeField(db_index=True)
    report = models.JSONField()

    class Meta:
        verbose_name_plural = "stream processes"

    def __str__(self) -> str:
        return self.name
