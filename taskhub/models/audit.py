"""Audit entries: who changed which row, when, by which interface. Written in the transaction of the change."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from taskhub.models.claim import AGENT_LENGTH


class AuditEntry(models.Model):
    """`action` is `subject:verb` (`task:update`); `changes` maps a field to `[before, after]`."""

    at = models.DateTimeField(auto_now_add=True, db_index=True)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    actor_name = models.CharField(max_length=150, blank=True, default="", help_text="Outlives the account.")
    door = models.CharField(max_length=20, help_text="rest, mcp, admin, command, or job (the service itself).")
    # The API token that was used, if any; the entry outlives it.
    token_id = models.UUIDField(null=True)
    token_name = models.CharField(max_length=100, blank=True, default="")
    agent = models.CharField(
        max_length=AGENT_LENGTH, blank=True, default="", db_default="", help_text="The agent's name. Empty: a person."
    )
    action = models.CharField(max_length=50)
    # No foreign keys: an entry outlives its object.
    task_id = models.UUIDField(null=True)
    execution_id = models.UUIDField(null=True)
    sandbox_id = models.CharField(max_length=200, blank=True, default="")
    subject = models.CharField(
        max_length=200, blank=True, default="", help_text="Other object: `token:<id>`, `account:<name>`."
    )
    changes = models.JSONField(default=dict)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "audit entries"
        indexes = [models.Index(fields=["task_id", "-id"], name="audit_task_newest")]

    def __str__(self) -> str:
        return f"{self.actor_name or 'system'} {self.action}"
