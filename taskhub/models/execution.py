"""Executions: one run of a task's script in a sandbox."""

from __future__ import annotations

import json
import math
import uuid
from datetime import datetime, timedelta
from typing import Final

from django.db import models

from taskhub.lib.encryption import Seal
from taskhub.models.admission import StartAwaits, WaitingReason
from taskhub.models.environment import EnvironmentVersion
from taskhub.models.evidence import NOT_SUPERSEDED, ExecutionKind, Verdict
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


SESSION_PREFIX: Final = "taskhub-"
"""A session's name is this and the execution's id."""
ENV_SEAL: Final = Seal("taskhub.executions", "env")
ENDING_S: Final = 20
"""Seconds within which an execution that is being ended has ended."""

ACTIVE_STATUSES: Final = (ExecutionStatus.QUEUED, ExecutionStatus.STARTING, ExecutionStatus.RUNNING)
UNSUCCESSFUL: Final = frozenset({ExecutionStatus.FAILED, ExecutionStatus.TIMED_OUT, ExecutionStatus.LOST})
"""The script, or the hub, did not do what was asked; that people stopped it is no failure."""
TO_START: Final = models.Q(status=ExecutionStatus.STARTING, command_id="")
FOLLOWED: Final = models.Q(status=ExecutionStatus.RUNNING) | (
    models.Q(status=ExecutionStatus.STARTING) & ~models.Q(command_id="")
)
"""Under way in a sandbox: its script runs, or its checkout and setup do."""


class Leftover(models.TextChoices):
    """What may outlive an execution that ended without its runner's help."""

    NONE = "", "Nothing"
    SANDBOX_STOPPING = "sandbox_stopping", "Its sandbox is being stopped"
    POSSIBLE = "possible", "Processes of the script may still run in the sandbox"


class Execution(models.Model):
    """
    queued → starting → running → completed   the script ended with 0
                                | failed      it ended with another code, or could not be started
                                | stopped     a stop was requested
                                | timed_out   it ran longer than `timeout_s`
                                | lost        its sandbox is gone

    A queued execution may also be stopped, and a starting one may fail. One whose environment has a repository or a
    setup is `starting` until these are done; from its start in a sandbox on (`command_id`) it is followed like one that
    runs (`FOLLOWED`). At most one execution of a task is active (a constraint), beside verifications that a run has
    superseded and that are being ended. No worker is blocked while the script runs: a worker that moves the row on
    first takes its lease (`lease_until`) and increments `fence`; a write with an older fence changes nothing. A lease
    that has run out is taken from the row by the reconciliation (`services/execution_leases.py`).
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # Kept when its task is deleted: the log and the audit still refer to it.
    task = models.ForeignKey(Task, null=True, on_delete=models.SET_NULL, related_name="executions")
    was_private = models.BooleanField(
        default=False, db_default=False, help_text="Whether its task was private when it was deleted."
    )
    private_entry = models.BigIntegerField(
        null=True,
        editable=False,
        help_text="Id of the audit entry since which it was private: its readers are those of this entry. "
        "None: its task was public while it ran.",
    )
    kind = models.CharField(
        max_length=6, choices=ExecutionKind.choices, default=ExecutionKind.RUN, db_default=ExecutionKind.RUN
    )
    newest = models.BooleanField(
        default=True,
        db_default=True,
        editable=False,
        help_text="Of a run: whether its task may have no newer one. The newest of a task always has it.",
    )
    status = models.CharField(max_length=9, choices=ExecutionStatus.choices, default=ExecutionStatus.QUEUED)
    script = models.TextField(help_text="Run with bash.")
    env = models.JSONField(
        default=dict,
        blank=True,
        help_text="Plain variables of the script: names to strings. Deleted with the script, when its log is.",
    )
    secret_env = models.TextField(
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="Secret part of the environment, encrypted; deleted with the sandbox.",
    )
    variables = models.JSONField(
        null=True,
        editable=False,
        help_text="Names of the variables that the request gave, to whether the value is secret. Empty: not known.",
    )
    merge_output = models.BooleanField(
        default=False, db_default=False, help_text="stderr is written to stdout, so their order is kept."
    )
    all_files = models.BooleanField(
        default=False, db_default=False, help_text="Take files below .git, node_modules and the like as well."
    )
    timeout_s = models.PositiveIntegerField(help_text="Seconds the script may run.")
    environment = models.ForeignKey(
        EnvironmentVersion,
        null=True,
        editable=False,
        on_delete=models.PROTECT,
        db_index=False,
        related_name="executions",
        help_text="What it runs in, as it was when it was queued. Empty: what the sandbox service gives.",
    )

    cpu = models.PositiveIntegerField(
        null=True, editable=False, help_text="CPUs of its sandbox. Empty: what the sandbox service gives unasked."
    )
    memory = models.PositiveIntegerField(null=True, editable=False, help_text="GiB of memory, likewise.")
    disk = models.PositiveIntegerField(null=True, editable=False, help_text="GiB of disk, likewise.")

    account = models.CharField(
        max_length=150,
        blank=True,
        default="",
        db_default="",
        help_text="Who asked for it.",
    )
    agent = models.ForeignKey(
        "taskhub.Agent",
        null=True,
        editable=False,
        on_delete=models.SET_NULL,
        db_index=False,
        related_name="+",
        help_text="Agent of that account that asked for it. Empty: a person or the hub did, or it is not known.",
    )
    requested_sandbox_id = models.CharField(max_length=200, blank=True, default="", help_text="Empty: make one.")
    sandbox_id = models.CharField(max_length=200, blank=True, default="")
    session_name = models.CharField(max_length=200)
    command_id = models.CharField(max_length=200, blank=True, default="")
    log_file = models.CharField(max_length=200)
    commit = models.CharField(
        max_length=64,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="What was checked out of its environment's repository.",
    )
    network_closed = models.BooleanField(
        default=False,
        db_default=False,
        editable=False,
        help_text="The network of its sandbox was closed after checkout and setup.",
    )
    log_token = models.CharField(
        max_length=64, blank=True, default="", db_default="", help_text="What marks in the log carry (LogTokens)."
    )

    exit_code = models.IntegerField(null=True, blank=True)
    error_code = models.CharField(max_length=50, blank=True, default="", help_text="Why it failed or was lost.")
    error_message = models.CharField(max_length=500, blank=True, default="")
    error_detail = models.TextField(
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="What the sandbox service itself said, for operators.",
    )
    log_lines = models.PositiveIntegerField(null=True, blank=True, help_text="Lines in the archived log.")
    log_truncated = models.BooleanField(default=False)

    files_seen = models.PositiveIntegerField(default=0, help_text="Number of the last reported file change.")
    artifacts_kept = models.PositiveIntegerField(default=0, help_text="Files of its working folder that were copied.")
    artifacts_left_out = models.PositiveIntegerField(
        default=0, help_text="Files that were not copied: too large, too many, or unreadable."
    )

    files_digest = models.CharField(
        max_length=64,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="SHA-256 over the paths and digests of the files that were kept. Empty: none were.",
    )
    evidence_left_out = models.PositiveIntegerField(
        default=0, db_default=0, editable=False, help_text="Files that had to be kept and were not."
    )
    checks = models.ForeignKey(
        "self",
        null=True,
        editable=False,
        on_delete=models.SET_NULL,
        db_index=False,
        related_name="+",
        help_text="Of a verification: the run that left what it checks.",
    )
    fingerprint = models.CharField(
        max_length=64,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="Of a verification: SHA-256 over what it checks (`selectors/evidence.py`).",
    )
    verdict = models.CharField(
        max_length=11,
        choices=Verdict.choices,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="Of a verification that has ended.",
    )
    superseded = models.BooleanField(
        default=False,
        db_default=False,
        editable=False,
        help_text="A verification that is being ended, since the task is executed again.",
    )
    retry_at = models.DateTimeField(
        null=True, editable=False, help_text="When a verification that the service failed is repeated."
    )
    retries = models.ForeignKey(
        "self",
        null=True,
        editable=False,
        on_delete=models.SET_NULL,
        db_index=False,
        related_name="+",
        help_text="The verification that this one repeats.",
    )

    fence = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    lease_s = models.FloatField(null=True, blank=True, help_text="The length of the lease in seconds.")
    attempts = models.PositiveSmallIntegerField(default=0, help_text="Attempts to start it.")
    ending = models.CharField(
        max_length=9, blank=True, default="", help_text="Status it will have, set while it is being ended."
    )
    leftover = models.CharField(
        max_length=16,
        choices=Leftover.choices,
        blank=True,
        default=Leftover.NONE,
        db_default="",
        help_text="What may outlive it.",
    )
    stop_requested_at = models.DateTimeField(null=True, blank=True)
    queued_at = models.DateTimeField(auto_now_add=True)
    waiting_reason = models.CharField(
        max_length=8,
        choices=[*WaitingReason.choices, *StartAwaits.choices],
        blank=True,
        default="",
        db_default="",
        help_text="Why it waits in the queue, or for what its start waits.",
    )
    waiting_since = models.DateTimeField(null=True, blank=True)
    passed_over_at = models.DateTimeField(
        null=True, editable=False, help_text="Since when it is the first in the queue and smaller ones go before it."
    )
    admitted_at = models.DateTimeField(null=True, blank=True, help_text="When it left the queue to be started.")
    setup_deadline = models.DateTimeField(
        null=True, editable=False, help_text="When checkout and setup must have ended."
    )
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    kept_until = models.DateTimeField(
        null=True, editable=False, help_text="When its sandbox may be deleted; empty: as the setting says."
    )
    released_at = models.DateTimeField(
        null=True, blank=True, help_text="When its session, and the sandbox created for it, were deleted."
    )

    class Meta:
        ordering = ["-queued_at", "-id"]
        indexes = [
            models.Index(fields=["task", "-queued_at"], name="execution_task_newest"),
            models.Index(fields=["-queued_at", "-id"], name="execution_newest"),
            models.Index(fields=["status", "-queued_at", "-id"], name="execution_status_newest"),
            models.Index(fields=["finished_at"], name="execution_finished"),
            models.Index(fields=["sandbox_id"], name="execution_sandbox"),
            models.Index(
                fields=["agent", "status", "-queued_at"],
                name="execution_of_agent",
                condition=models.Q(agent__isnull=False),
            ),
            models.Index(fields=["status"], name="execution_active", condition=models.Q(status__in=ACTIVE_STATUSES)),
            models.Index(fields=["retry_at"], name="execution_retry", condition=models.Q(retry_at__isnull=False)),
            # Tasks by the status of their newest run, however many runs have had that status.
            models.Index(
                fields=["status", "task"],
                name="execution_last_of_task",
                condition=models.Q(newest=True, kind=ExecutionKind.RUN),
            ),
            models.Index(
                fields=["finished_at"], name="execution_unreleased", condition=models.Q(released_at__isnull=True)
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["task"],
                name="execution_one_at_a_time",
                condition=models.Q(status__in=ACTIVE_STATUSES) & NOT_SUPERSEDED,
            ),
            models.CheckConstraint(
                name="execution_status_known", condition=models.Q(status__in=ExecutionStatus.values)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.session_name} ({self.status})"

    def secrets(self) -> dict[str, str]:
        """The secret part of its environment. Raises SealBroken."""
        found: dict[str, str] = json.loads(ENV_SEAL.open(self.secret_env)) if self.secret_env else {}
        return found

    @property
    def is_verification(self) -> bool:
        return self.kind == ExecutionKind.VERIFY

    @property
    def is_active(self) -> bool:
        return self.status in ACTIVE_STATUSES

    @property
    def is_followed(self) -> bool:
        """As `FOLLOWED`."""
        return self.status == ExecutionStatus.RUNNING or self.is_set_up

    @property
    def is_set_up(self) -> bool:
        """Its checkout or its setup runs."""
        return self.status == ExecutionStatus.STARTING and bool(self.command_id)

    @property
    def start_awaits(self) -> StartAwaits | None:
        """What its start waits for at the sandbox service."""
        waits = self.status == ExecutionStatus.STARTING and self.waiting_reason in StartAwaits.values
        return StartAwaits(self.waiting_reason) if waits else None

    @property
    def shown_ending(self) -> str | None:
        """As what it is being ended right now; None for one that is not being ended, or has ended."""
        if not self.is_active:
            return None
        return self.ending or (ExecutionStatus.STOPPED.value if self.stop_requested_at is not None else None)

    def ending_left_s(self, now: datetime) -> int:
        """Seconds, at least 1, after which it has ended where it is being ended."""
        began = self.stop_requested_at or self.deadline or now
        return min(ENDING_S, max(1, math.ceil(ENDING_S - (now - began).total_seconds())))

    @property
    def deadline(self) -> datetime | None:
        """When the script must have ended, or before it its checkout and setup; None before these have started."""
        return self.started_at + timedelta(seconds=self.timeout_s) if self.started_at else self.setup_deadline
