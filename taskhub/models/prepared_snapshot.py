"""Prepared snapshots: what the `prepare` of an environment's version has left, kept once for all its executions."""

from __future__ import annotations

import uuid
from typing import Final

from django.db import models

from taskhub.models.environment import EnvironmentVersion

PREPARING_PREFIX: Final = "taskhub-prepare-"
"""Begins the names of the sandboxes in which the hub itself runs `prepare`."""
SNAPSHOT_PREFIX: Final = "taskhub-"


class PreparedState(models.TextChoices):
    """
    waiting -> preparing -> snapshotting -> active
    preparing, snapshotting -> failed      what another try would not change
    preparing, snapshotting -> waiting     no room, a service that is slow, a sandbox that is gone: tried again later
    failed -> waiting                      the environment is saved again, unchanged
    active -> waiting                      its snapshot is gone at the sandbox service
    any of them -> removing                the version is an old one; then the row is deleted
    """

    WAITING = "waiting", "Waiting"
    PREPARING = "preparing", "Prepare runs"
    SNAPSHOTTING = "snapshotting", "The snapshot is made"
    ACTIVE = "active", "Active"
    FAILED = "failed", "Failed"
    REMOVING = "removing", "Being removed"


class PreparedSnapshot(models.Model):
    """Of a version that has a `prepare`. One worker at a time works at it: `fence` counts who has, up to `lease_until`.

    `holds_sandbox` and `holds_snapshot` are set before these are asked for, and stay until their deletion is seen.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    version = models.OneToOneField(EnvironmentVersion, on_delete=models.CASCADE, related_name="prepared")
    name = models.CharField(max_length=100, help_text="Of the snapshot, at the sandbox service.")
    snapshot_id = models.CharField(max_length=100, blank=True, default="", db_default="")
    state = models.CharField(max_length=20, choices=PreparedState.choices, default=PreparedState.WAITING)
    since = models.DateTimeField(help_text="When it came into this state.")
    begun_at = models.DateTimeField(null=True, help_text="When prepare began in the sandbox.")
    holds_sandbox = models.BooleanField(default=False, db_default=False)
    holds_snapshot = models.BooleanField(default=False, db_default=False)
    error_code = models.CharField(max_length=50, blank=True, default="", db_default="")
    error_message = models.TextField(blank=True, default="", db_default="")
    log_tail = models.TextField(
        blank=True,
        default="",
        db_default="",
        help_text="Last lines of a prepare that failed, or what the sandbox service said.",
    )
    attempts = models.PositiveIntegerField(default=0, db_default=0, help_text="Tries in a row that led nowhere.")
    due_at = models.DateTimeField(null=True, help_text="Not looked at before. Empty: now.")
    lease_until = models.DateTimeField(null=True)
    fence = models.PositiveIntegerField(default=0, db_default=0)
    cpu = models.PositiveIntegerField(
        null=True, help_text="CPUs of its sandbox. Empty: what the service gives unasked."
    )
    memory = models.PositiveIntegerField(null=True, help_text="GiB of memory, likewise.")
    disk = models.PositiveIntegerField(null=True, help_text="GiB of disk, likewise.")

    class Meta:
        ordering = ["since"]
        indexes = [models.Index(fields=["name"], name="prepared_name")]

    def __str__(self) -> str:
        return self.name

    @property
    def sandbox_name(self) -> str:
        return f"{PREPARING_PREFIX}{self.pk}"
