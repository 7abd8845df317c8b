"""A web process that holds streams, and what it last said of itself."""

from __future__ import annotations

from django.db import models


class StreamProcess(models.Model):
    """Written by the process itself every few seconds; one that is silent for longer is gone.

    `report` is what `events/reports.py` makes; its counters count from the start of the process.
    """

    name = models.CharField(primary_key=True, max_length=200, help_text="host:pid:start")
    reported_at = models.DateTimeField(db_index=True)
    report = models.JSONField()

    class Meta:
        verbose_name_plural = "stream processes"

    def __str__(self) -> str:
        return self.name
