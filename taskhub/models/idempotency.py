"""Idempotency keys: the stored answer of a request that made something, so that its repeat makes nothing."""

from __future__ import annotations

import uuid
from typing import Final

from django.conf import settings
from django.db import models

from taskhub.lib.encryption import Seal

ANSWER_SEAL: Final = Seal("taskhub.idempotency", "answer")


class IdempotencyKey(models.Model):
    """
    reserved → answered     (the row is deleted where the request was refused)

    `scope` is a digest of account, agent, operation and key; `body` one of what was sent. What is made at Daytona
    reserves its key first: `label` is what it carries there, and until `reserved_until` the request may be under way.
    """

    scope = models.CharField(max_length=64, primary_key=True)
    body = models.CharField(max_length=64)
    operation = models.CharField(max_length=200)
    account = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    label = models.UUIDField(default=uuid.uuid4, editable=False)
    reserved_until = models.DateTimeField(null=True)
    status = models.PositiveSmallIntegerField(null=True, help_text="HTTP status of the answer, if there is one.")
    answer = models.TextField(default="", help_text="JSON; encrypted where it holds a secret.")
    headers = models.JSONField(default=dict)
    encrypted = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    def __str__(self) -> str:
        return f"{self.operation} ({self.status or 'reserved'})"
