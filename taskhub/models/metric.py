"""Metrics of the hub's processes, and heartbeats of Celery's."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class MetricName(models.TextChoices):
    """The metrics with their unit; the comment after a semicolon describes the label."""

    STREAM_SECONDS = "stream_seconds", "seconds that streams were open"
    STREAM_EVENTS = "stream_events", "what happened on streams: opened, deliveries, resumes, resets, overflows"
    STREAM_ENDS = "stream_ends", "streams that ended; how"
    EVENTS = "events", "events that were published; their type"
    EXECUTION_ENDS = "execution_ends", "executions that ended; how"
    EXECUTION_S = "execution_s", "seconds that executions ran; how they ended"
    POLL_MS = "poll_ms", "milliseconds that a tick of a poll took; of which poll"
    UPSTREAM_REQUESTS = "upstream_requests", "requests to Daytona; 2xx, another status, or none"
    REQUEST_MS = "request_ms", "milliseconds that a request took until its answer; method and status"
    WEBHOOK_ATTEMPTS = "webhook_attempts", "milliseconds that an attempt to deliver a webhook took; how it ended"


class MetricSample(models.Model):
    """Measurements of one process over about ten seconds; readers add them up."""

    at = models.DateTimeField()
    name = models.CharField(max_length=30, choices=MetricName.choices)
    label = models.CharField(max_length=50, blank=True, default="")
    count = models.PositiveBigIntegerField()
    total = models.FloatField()
    most = models.FloatField()

    class Meta:
        db_table = "taskhub_measure"  # the model's former name
        indexes: ClassVar = [models.Index(fields=["name", "at"], name="measure_over_time")]

    def __str__(self) -> str:
        return f"{self.name} {self.label}"


class MetricTotal(models.Model):
    """Totals of all processes since the hub was installed; they only grow.

    `le` is the upper bound of a histogram bucket, or empty for all values.
    """

    name = models.CharField(max_length=30)
    label = models.CharField(max_length=50)
    le = models.CharField(max_length=10)
    count = models.PositiveBigIntegerField()
    total = models.FloatField()

    class Meta:
        db_table = "taskhub_measuretotal"  # likewise
        constraints: ClassVar = [models.UniqueConstraint(fields=["name", "label", "le"], name="one_measure_total")]

    def __str__(self) -> str:
        return f"{self.name} {self.label} {self.le}"


class Heartbeat(models.Model):
    """`beat`: jobs are being sent. `worker`: jobs are being run, by any worker."""

    name = models.CharField(primary_key=True, max_length=20)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name
