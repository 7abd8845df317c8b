"""Admission of executions: operators' limits and pauses, the learnt ceiling of the sandbox service, accounts' turns."""

from __future__ import annotations

from datetime import datetime

from django.db import models

from taskhub.models.announcement import Announcement

HUB = ":hub"
"""The account of the rule that is for the whole hub; no account has a colon in its name. Not empty, since the admin's
addresses have it; forms and answers show an empty one."""


class WaitingReason(models.TextChoices):
    """Why a queued execution is not started yet."""

    CAPACITY = "capacity", "The sandbox service is full"
    LIMIT = "limit", "The limit of executions at once is reached"
    PAUSED = "paused", "Starts are paused"


class StartAwaits(models.TextChoices):
    """What a start waits for at the sandbox service, where there is room."""

    IMAGE = "image", "Its image is built or fetched"
    SNAPSHOT = "snapshot", "Its snapshot is activated"
    VOLUME = "volume", "Its volumes are made"


class AdmissionRule(models.Model):
    """What operators have set for the hub (`HUB`) or for one account, beside the settings."""

    account = models.CharField(primary_key=True, max_length=150, help_text="Empty: the whole hub.")
    at_once = models.PositiveIntegerField(
        null=True, blank=True, help_text="Executions at once; empty: what the setting says."
    )
    paused = models.BooleanField(
        default=False, db_default=False, help_text="No agent claims a task, and nothing new is started."
    )
    paused_until = models.DateTimeField(null=True, blank=True, help_text="Empty: until the pause is lifted.")
    announcement = models.ForeignKey(
        Announcement,
        null=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="What was said of the pause.",
    )
    changed_at = models.DateTimeField(auto_now=True)
    changed_by = models.CharField(max_length=150, blank=True, default="", db_default="")

    class Meta:
        ordering = ["account"]

    def __str__(self) -> str:
        return "the hub" if self.is_for_hub else self.account

    @property
    def is_for_hub(self) -> bool:
        return self.account == HUB

    def is_paused(self, now: datetime) -> bool:
        return self.paused and (self.paused_until is None or self.paused_until > now)


class AdmissionState(models.Model):
    """One row: what the hub has learnt of the sandbox service's capacity. Admission locks it.

    `ceiling` is how many sandboxes of ours there were when the service last said that it is full; null: not known.
    Where the service named what it lacks, the sum of that is what bounds starts, and not the number of sandboxes.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    ceiling = models.PositiveIntegerField(null=True)
    cpu_ceiling = models.PositiveIntegerField(null=True, help_text="CPUs that our sandboxes may have together.")
    memory_ceiling = models.PositiveIntegerField(null=True, help_text="GiB of memory, likewise.")
    disk_ceiling = models.PositiveIntegerField(null=True, help_text="GiB of disk, likewise.")
    ceiling_at = models.DateTimeField(null=True, help_text="When it was learnt or held true.")
    retry_at = models.DateTimeField(null=True, help_text="Before then nothing is started beyond the ceiling.")
    trying = models.UUIDField(null=True, help_text="The execution that is tried beyond the ceiling.")
    refusals = models.PositiveSmallIntegerField(default=0, db_default=0, help_text="Refused tries in a row.")
    throttled_until = models.DateTimeField(null=True, help_text="The service asked for fewer requests until then.")
    held_at = models.DateTimeField(null=True, help_text="When a sandbox of ours was last seen.")
    turn = models.BigIntegerField(default=0, db_default=0)

    class Meta:
        constraints = [models.CheckConstraint(name="one_admission_state", condition=models.Q(pk=1))]

    def __str__(self) -> str:
        return f"ceiling {self.ceiling}"


class AdmissionTurn(models.Model):
    """Round robin: the turn in which an account was last admitted; the lowest is next."""

    account = models.CharField(primary_key=True, max_length=150)
    turn = models.BigIntegerField()
    recent = models.JSONField(
        default=list,
        db_default=models.Value([], output_field=models.JSONField()),
        help_text="Its last turns, the latest last: one that led to no start is given back.",
    )

    def __str__(self) -> str:
        return f"{self.account}: {self.turn}"
