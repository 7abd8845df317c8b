"""Dependencies: which tasks must be done before a task may be claimed."""

from __future__ import annotations

from django.db import models

from taskhub.models.task import Task


class Dependency(models.Model):
    """`task` waits for `blocker`. The relation has no cycles (`services/order.py`).

    A blocker is open until it is `done`; one that is done with `closed_as` stays open until a person waives it here.
    `Task.open_blockers` counts the open ones.
    """

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="dependencies")
    blocker = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="dependents")
    waived_by = models.CharField(max_length=150, blank=True, default="", help_text="Person who waived the blocker.")

    class Meta:
        verbose_name_plural = "dependencies"
        constraints = [
            models.UniqueConstraint(fields=["task", "blocker"], name="dependency_once"),
            models.CheckConstraint(name="dependency_of_another", condition=~models.Q(task=models.F("blocker"))),
        ]

    def __str__(self) -> str:
        return f"{self.task_id} after {self.blocker_id}"
