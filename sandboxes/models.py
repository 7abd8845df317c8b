"""What the hub knows of Daytona's sandboxes, and who watches them right now."""

from __future__ import annotations

import uuid
from typing import Final

from django.conf import settings
from django.db import models

DESTROYED: Final = "destroyed"


class Sandbox(models.Model):
    """A sandbox's last known state. `document` is Daytona's own object, without what may be secret (`env`).

    A row is made when somebody first watches the sandbox; polls and pushes keep it fresh for as long as somebody does.
    """

    id = models.CharField(primary_key=True, max_length=200)
    name = models.CharField(max_length=255, blank=True, default="", db_index=True)
    state = models.CharField(max_length=50, db_index=True)
    document = models.JSONField(default=dict)
    seen_at = models.DateTimeField(help_text="When Daytona last told us.")
    sessions = models.JSONField(null=True, help_text="Daytona's list of sessions with their commands.")
    sessions_seen_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "sandboxes"
        ordering = ["-seen_at", "id"]

    def __str__(self) -> str:
        return self.name or self.id

    @property
    def toolbox_url(self) -> str:
        return str(self.document.get("toolboxProxyUrl", ""))


class Watching(models.TextChoices):
    """What of a sandbox is watched: spec 000's `eventType`."""

    STATUS = "sandbox-status", "status"
    SESSIONS = "sessions", "sessions"
    LOGS = "logs", "logs"


class Subscription(models.Model):
    """An open stream of `/sse`: who watches what, since when, from where.

    It is a lease: it counts for as long as the web process that holds it reports (`StreamProcess.reported_at`, written
    by each process with one statement every 2 s), and is deleted when the stream closes.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="+")
    user_name = models.CharField(max_length=150, blank=True, default="")
    address = models.CharField(max_length=45, blank=True, default="", help_text="Where the viewer comes from.")
    kind = models.CharField(max_length=20, choices=Watching.choices)
    sandbox_id = models.CharField(max_length=200)
    session_id = models.CharField(max_length=200, blank=True, default="")
    command_id = models.CharField(max_length=200, blank=True, default="")
    process = models.CharField(max_length=200, db_index=True, help_text="The web process that holds it.")
    opened_at = models.DateTimeField()
    events = models.BigIntegerField(default=0, help_text="Sent so far; written every 10 s.")
    disconnect_requested_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-opened_at", "-id"]
        indexes = [models.Index(fields=["kind", "sandbox_id"], name="subscription_watched")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.sandbox_id}"


class Poll(models.Model):
    """How one of the two polls goes, as of its last tick."""

    name = models.CharField(primary_key=True, max_length=20)
    started_at = models.DateTimeField()
    took_ms = models.PositiveIntegerField()
    watched = models.PositiveIntegerField(help_text="Sandboxes looked at in the last tick.")
    requests = models.PositiveIntegerField(help_text="Requests to Daytona in the last tick.")
    error_code = models.CharField(max_length=50, blank=True, default="")
    ticks = models.PositiveBigIntegerField(default=0)
    skipped = models.PositiveBigIntegerField(default=0, help_text="Ticks left out because one was still at work.")

    def __str__(self) -> str:
        return self.name


class DaytonaWebhook(models.Model):
    """A webhook of Daytona's that was taken, so that one sent twice counts once."""

    id = models.CharField(primary_key=True, max_length=200)
    received_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        db_table = "sandboxes_webhookdelivery"  # the name that it was made with
        verbose_name = "Daytona webhook"

    def __str__(self) -> str:
        return self.id
