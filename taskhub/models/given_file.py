"""Given files: what an execution finds in its working folder when its script starts."""

from __future__ import annotations

from django.db import models

from taskhub.models.execution import Execution


class GivenFile(models.Model):
    """`text`, or a copy of what another execution left: `stored_as` is its name in Django's storage. Deleted at the end
    of the execution."""

    execution = models.ForeignKey(Execution, on_delete=models.CASCADE, related_name="given_files")
    path = models.CharField(max_length=1000, help_text="Relative to the working folder.")
    text = models.TextField(blank=True, default="")
    stored_as = models.CharField(max_length=100, blank=True, default="", help_text="Empty: it is the text.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["execution", "path"], name="given_file_path")]

    def __str__(self) -> str:
        return self.path
