"""Announcements by operators: a maintenance window, an outage, news."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Final

from django.conf import settings
from django.db import models
from django.utils import timezone

TEXT_LIMIT: Final = 1000
"""Characters of an announcement's text."""


class AnnouncementLevel(models.TextChoices):
    INFO = "info", "Info"
    WARNING = "warning", "Warning"
    CRITICAL = "critical", "Critical"


class AnnouncementQuerySet(models.QuerySet["Announcement", "Announcement"]):
    def current(self, now: datetime | None = None) -> AnnouncementQuerySet:
        """Announcements that are current at `now`, by default the present."""
        end = models.Q(ends_at__isnull=True) | models.Q(ends_at__gt=now or timezone.now())
        return self.filter(end, withdrawn_at__isnull=True)


class Announcement(models.Model):
    """current → withdrawn   an operator withdrew it
            | over  `ends_at` has passed; it expires without an event

    The text never changes: withdraw the announcement and make another.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    level = models.CharField(max_length=8, choices=AnnouncementLevel.choices, default=AnnouncementLevel.INFO)
    text = models.TextField(max_length=TEXT_LIMIT)
    ends_at = models.DateTimeField(null=True, blank=True, help_text="Empty: until it is withdrawn.")
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    made_by_name = models.CharField(max_length=150, blank=True, default="", help_text="Outlives the account.")
    created_at = models.DateTimeField(auto_now_add=True)
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    objects = AnnouncementQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="announcement_newest"),
            models.Index(
                fields=["ends_at"], name="announcement_current", condition=models.Q(withdrawn_at__isnull=True)
            ),
        ]
        constraints = [
            models.CheckConstraint(
                name="announcement_level_known", condition=models.Q(level__in=AnnouncementLevel.values)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.level}: {self.text[:80]}"

    @property
    def is_current(self) -> bool:
        return self.withdrawn_at is None and (self.ends_at is None or self.ends_at > timezone.now())
