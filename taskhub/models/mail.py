"""Mail to people: who wants which, what is still to be sent, and up to which event it was written."""

from __future__ import annotations

import uuid
from typing import Final

from django.conf import settings
from django.db import models


class MailKind(models.TextChoices):
    QUESTION = "question", "Questions"
    HELD_BACK = "held_back", "Held-back tasks"
    REVIEW = "review", "Reviews"


class MailPreference(models.Model):
    """Which mail an account wants; without a row it gets none. The address is the account's."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, primary_key=True, on_delete=models.CASCADE, related_name="mail_preference"
    )
    question = models.BooleanField(default=False)
    held_back = models.BooleanField(default=False)
    review = models.BooleanField(default=False)

    def __str__(self) -> str:
        return ", ".join(kind.label for kind in MailKind if getattr(self, kind.value)) or "no mail"


class Mail(models.Model):
    """A mail that is still to be sent; the row is deleted when the mail server has taken it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False, help_text="Of the Message-ID.")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    task_id = models.UUIDField()
    kind = models.CharField(max_length=10, choices=MailKind.choices)
    subject = models.CharField(max_length=300)
    body = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)
    failures = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.subject


ONLY: Final = 1


class MailCursor(models.Model):
    """One row: the number of the last event from which mail was written."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=ONLY)
    cursor = models.PositiveBigIntegerField()

    def __str__(self) -> str:
        return str(self.cursor)
