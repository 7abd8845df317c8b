"""Sandboxes, subscriptions to them, polls, received webhooks."""

from __future__ import annotations

import uuid
from typing import Final

from django.conf import settings
from django.db import models

DESTROYED: Final = "destroyed"
EXECUTION_LABEL: Final = "taskhub.execution"
"""At Daytona, of a sandbox that the hub made for an execution: its id."""


class Sandbox(models.Model):
    """A sandbox's last known state. `document` is Daytona's object without fields that may be secret (`env`).

    The row is created by the first viewer, or when an operator looks at the list in the admin; polls and pushes update
    it while either looks.
    """

    id = models.CharField(primary_key=True, max_length=200)
    name = models.CharField(max_length=255, blank=True, default="", db_index=True)
    state = models.CharField(max_length=50, db_index=True)
    document = models.JSONField(default=dict)
    seen_at = models.DateTimeField(help_text="When Daytona last reported it.")
    sessions = models.JSONField(null=True, help_text="Daytona's list of sessions with their commands.")
    sessions_seen_at = models.DateTimeField(null=True)
    last_action = models.CharField(
        max_length=300,
        blank=True,
        default="",
        db_default="",
        help_text="The last action that an operator asked for in the admin, and what became of it.",
    )
    last_action_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "sandboxes"
        ordering = ["-seen_at", "id"]

    def __str__(self) -> str:
        return self.name or self.id

    @property
    def toolbox_url(self) -> str:
        return str(self.document.get("toolboxProxyUrl", ""))


class StateChange(models.Model):
    """A state of a sandbox, and when the hub saw it: while it was watched, or when an account asked for it."""

    sandbox_id = models.CharField(max_length=200)
    state = models.CharField(max_length=50)
    at = models.DateTimeField(db_index=True)
    action = models.CharField(
        max_length=10, blank=True, default="", help_text="create, start, stop or delete, where an account asked for it."
    )
    by = models.CharField(max_length=150, blank=True, default="", help_text="The account that asked for it.")

    class Meta:
        indexes = [models.Index(fields=["sandbox_id", "-id"], name="state_change_newest")]

    def __str__(self) -> str:
        return f"{self.sandbox_id}: {self.state}"


class Watching(models.TextChoices):
    """The watched part of a sandbox: spec 000's `eventType`."""

    STATUS = "sandbox-status", "status"
    SESSIONS = "sessions", "sessions"
    LOGS = "logs", "logs"


class Subscription(models.Model):
    """An open stream of `/sse`: account, sandbox, opening time, address.

    It is a lease: valid while the web process that holds it reports (`StreamProcess.reported_at`, written by each
    process with one statement every 2 s), and deleted when the stream closes.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="+")
    user_name = models.CharField(max_length=150, blank=True, default="")
    address = models.CharField(max_length=45, blank=True, default="", help_text="The client's address.")
    kind = models.CharField(max_length=20, choices=Watching.choices)
    sandbox_id = models.CharField(max_length=200)
    session_id = models.CharField(max_length=200, blank=True, default="")
    command_id = models.CharField(max_length=200, blank=True, default="")
    process = models.CharField(max_length=200, db_index=True, help_text="The web process that holds it.")
    opened_at = models.DateTimeField()
    events = models.BigIntegerField(default=0, help_text="Events sent so far; written every 10 s.")
    disconnect_requested_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-opened_at", "-id"]
        indexes = [models.Index(fields=["kind", "sandbox_id"], name="subscription_watched")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.sandbox_id}"


class Poll(models.Model):
    """Result of the last tick of a poll."""

    name = models.CharField(primary_key=True, max_length=20)
    started_at = models.DateTimeField()
    took_ms = models.PositiveIntegerField()
    watched = models.PositiveIntegerField(help_text="Sandboxes polled in the last tick.")
    requests = models.PositiveIntegerField(help_text="Requests to Daytona in the last tick.")
    error_code = models.CharField(max_length=50, blank=True, default="")
    ticks = models.PositiveBigIntegerField(default=0)
    skipped = models.PositiveBigIntegerField(
        default=0, help_text="Ticks skipped because the previous one was still running."
    )

    def __str__(self) -> str:
        return self.name


class DaytonaWebhook(models.Model):
    """Id of a received Daytona webhook, so that a repeated one counts once."""

    id = models.CharField(primary_key=True, max_length=200)
    received_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        db_table = "sandboxes_webhookdelivery"  # the model's former name
        verbose_name = "Daytona webhook"

    def __str__(self) -> str:
        return self.id
