"""One run of a task's script in a sandbox."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Final

from django.db import models

from taskhub.models.admission import WaitingReason
from taskhub.models.task import Task


class ExecutionStatus(models.TextChoices):
    QUEUED = "queued", "Queued"
    STARTING = "starting", "Starting"
    RUNNING = "running", "Running"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"
    STOPPED = "stopped", "Stopped"
    TIMED_OUT = "timed_out", "Timed out"
    LOST = "lost", "Lost"


ACTIVE_STATUSES: Final = (ExecutionStatus.QUEUED, ExecutionStatus.STARTING, ExecutionStatus.RUNNING)


class Execution(models.Model):
    """
    queued → starting → running → completed   the script ended with 0
                                | failed      it ended with another code, or could not be started
                                | stopped     somebody asked
                                | timed_out   it ran longer than `timeout_s`
                                | lost        its sandbox is gone

    A queued execution may also be stopped, and a starting one may fail. At most one execution of a task is
    active (a constraint). No worker is held while the script runs: whoever wants to move the row on takes its
    lease (`lease_until`) and raises `fence`; a write under an older fence changes nothing.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # Kept when its task is deleted: the log and the audit still refer to it.
    task = models.ForeignKey(Task, null=True, on_delete=models.SET_NULL, related_name="executions")
    was_private = models.BooleanField(default=False, help_text="Whether its task was private when it was deleted.")
    status = models.CharField(max_length=9, choices=ExecutionStatus.choices, default=ExecutionStatus.QUEUED)
    script = models.TextField(help_text="Run with bash.")
    env = models.JSONField(default=dict, blank=True, help_text="Environment of the script: names to strings.")
    timeout_s = models.PositiveIntegerField(help_text="Seconds the script may run.")

    account = models.CharField(
        max_length=150,
        blank=True,
        default="",
        db_default="",
        help_text="Who asked for it.",
    )
    requested_sandbox_id = models.CharField(max_length=200, blank=True, default="", help_text="Empty: make one.")
    sandbox_id = models.CharField(max_length=200, blank=True, default="")
    session_name = models.CharField(max_length=200)
    command_id = models.CharField(max_length=200, blank=True, default="")
    log_file = models.CharField(max_length=200)

    exit_code = models.IntegerField(null=True, blank=True)
    error_code = models.CharField(max_length=50, blank=True, default="", help_text="Why it failed or was lost.")
    error_message = models.CharField(max_length=500, blank=True, default="")
    log_lines = models.PositiveIntegerField(null=True, blank=True, help_text="Lines in the archived log.")
    log_truncated = models.BooleanField(default=False)

    files_seen = models.PositiveIntegerField(default=0, help_text="Up to which change its files were told of.")
    artifacts_kept = models.PositiveIntegerField(default=0, help_text="Files of its working folder that were copied.")
    artifacts_left_out = models.PositiveIntegerField(
        default=0, help_text="Those that were not: too large, too many, or not to be read."
    )

    fence = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0, help_text="Times a start was tried.")
    ending = models.CharField(max_length=9, blank=True, default="", help_text="Set when it is being ended: as what.")
    stop_requested_at = models.DateTimeField(null=True, blank=True)
    queued_at = models.DateTimeField(auto_now_add=True)
    waiting_reason = models.CharField(
        max_length=8, choices=WaitingReason.choices, blank=True, default="", db_default="", help_text="Why it waits."
    )
    waiting_since = models.DateTimeField(null=True, blank=True)
    admitted_at = models.DateTimeField(null=True, blank=True, help_text="When it left the queue to be started.")
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    released_at = models.DateTimeField(
        null=True, blank=True, help_text="Its session, and the sandbox made for it, are gone."
    )

    class Meta:
        ordering = ["-queued_at", "-id"]
        indexes = [
            models.Index(fields=["task", "-queued_at"], name="execution_task_newest"),
            models.Index(fields=["sandbox_id"], name="execution_sandbox"),
            models.Index(fields=["status"], name="execution_active", condition=models.Q(status__in=ACTIVE_STATUSES)),
            models.Index(
                fields=["finished_at"], name="execution_unreleased", condition=models.Q(released_at__isnull=True)
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["task"], name="execution_one_active", condition=models.Q(status__in=ACTIVE_STATUSES)
            ),
            models.CheckConstraint(
                name="execution_status_known", condition=models.Q(status__in=ExecutionStatus.values)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.session_name} ({self.status})"

    @property
    def is_active(self) -> bool:
        return self.status in ACTIVE_STATUSES

    @property
    def deadline(self) -> datetime | None:
        """When the script must have ended; None before it started."""
        return self.started_at + timedelta(seconds=self.timeout_s) if self.started_at else None

    def is_overdue(self, now: datetime, *, by: timedelta = timedelta()) -> bool:
        """Whether it has run past its deadline, by more than `by`."""
        return self.deadline is not None and now > self.deadline + by
