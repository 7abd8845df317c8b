"""Artifacts: the hub's copies of the files that a script left in its working folder, and which were not copied."""

from __future__ import annotations

import uuid

from django.db import models

from taskhub.models.execution import Execution


class Artifact(models.Model):
    """`path` is relative to the working folder; `stored_as` is the copy's name in Django's storage.

    `path_is_masked`: the file's own name holds a secret value, so a verification cannot put it where it was.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    execution = models.ForeignKey(Execution, on_delete=models.CASCADE, related_name="artifacts")
    path = models.CharField(max_length=1000)
    size = models.PositiveBigIntegerField(help_text="In bytes.")
    sha256 = models.CharField(
        max_length=64, blank=True, default="", db_default="", help_text="Of its content; empty: kept by an old release."
    )
    stored_as = models.CharField(max_length=100)
    path_is_masked = models.BooleanField(default=False, db_default=False)
    kept_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        ordering = ["path"]
        constraints = [models.UniqueConstraint(fields=["execution", "path"], name="artifact_path")]

    def __str__(self) -> str:
        return self.path


class LeftOutReason(models.TextChoices):
    TOO_LARGE = "too_large", "Too large"
    NO_ROOM = "no_room", "No room beside the others"
    TOO_MANY = "too_many", "Too many files"
    UNREADABLE = "unreadable", "Gone, unreadable, or still growing"
    LATE = "late", "Not copied in time"


class LeftOutFile(models.Model):
    """A file that an execution left and that was not copied: the first `LEFT_OUT_NAMED` of it.

    `Execution.artifacts_left_out` counts all of them.
    """

    execution = models.ForeignKey(Execution, on_delete=models.CASCADE, related_name="left_out_files")
    path = models.CharField(max_length=1000)
    size = models.PositiveBigIntegerField(help_text="In bytes, as its list said.")
    reason = models.CharField(max_length=10, choices=LeftOutReason.choices)
    at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.path
