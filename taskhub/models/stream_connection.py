"""Open streams of `/api/events/stream` as rows that all processes see, and replays to them."""

from __future__ import annotations

from datetime import timedelta

from django.db import models

from taskhub.models.process import StreamProcess


class StreamConnectionQuerySet(models.QuerySet["StreamConnection", "StreamConnection"]):
    def of_living(self, within: timedelta) -> StreamConnectionQuerySet:
        """Connections whose process has reported within this time."""
        living = StreamProcess.objects.living(within)
        return self.filter(process__in=living.values("name"))


class StreamConnection(models.Model):
    """An open event stream: account, address, filters, opening time.

    The process that holds it writes the row within a few seconds (`events/connections.py`) and deletes it when the
    stream has closed; rows of a dead process are ignored.
    """

    id = models.UUIDField(primary_key=True)
    account = models.CharField(max_length=150, blank=True, default="", help_text="Empty: anonymous.")
    address = models.CharField(max_length=45, blank=True, default="", help_text="The client's address.")
    filters = models.JSONField(default=dict, help_text="The requested filters; empty: everything.")
    process = models.CharField(max_length=200, db_index=True, help_text="The web process that holds it.")
    opened_at = models.DateTimeField()
    end_requested = models.BooleanField(
        default=False, db_default=False, editable=False, help_text="Its account wants it closed; its process does so."
    )

    objects = StreamConnectionQuerySet.as_manager()

    class Meta:
        db_table = "taskhub_listener"  # the model's former name
        verbose_name = "event stream"
        ordering = ["-opened_at", "-id"]

    def __str__(self) -> str:
        return f"{self.account or self.address or 'anonymous'}, since {self.opened_at:%Y-%m-%d %H:%M:%S}"


class Replay(models.Model):
    """Events that an operator wants sent again to one stream; the process that holds it deletes the row."""

    listener = models.ForeignKey(StreamConnection, on_delete=models.CASCADE, related_name="replays")
    numbers = models.JSONField(help_text="The events' numbers, ascending.")
    asked_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{len(self.numbers)} events to {self.listener_id}"
