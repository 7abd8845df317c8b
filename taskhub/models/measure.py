"""What the processes of the hub measure, and when its jobs were last alive."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class MeasureName(models.TextChoices):
    """What is measured, and in what unit; its label says of what."""

    STREAM_SECONDS = "stream_seconds", "seconds that streams were open"
    POLL_MS = "poll_ms", "milliseconds that a tick of a poll took; of which poll"
    UPSTREAM_ERRORS = "upstream_errors", "requests that Daytona did not answer well; its status, or none"
    WEBHOOK_ATTEMPTS = "webhook_attempts", "milliseconds that an attempt to deliver a webhook took; how it ended"


class Measure(models.Model):
    """What one process measured in about ten seconds. Who reads adds up."""

    at = models.DateTimeField()
    name = models.CharField(max_length=30, choices=MeasureName.choices)
    label = models.CharField(max_length=50, blank=True, default="")
    count = models.PositiveBigIntegerField()
    total = models.FloatField()
    most = models.FloatField()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["name", "at"], name="measure_over_time")]

    def __str__(self) -> str:
        return f"{self.name} {self.label}"


class Heartbeat(models.Model):
    """`beat`: jobs are being sent. `worker`: they are being done, by any worker."""

    name = models.CharField(primary_key=True, max_length=20)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name
