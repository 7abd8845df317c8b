"""Current announcements in memory: sent on connect without a database query per client.

A feed reads them once and then follows the events, as it does with private tasks (`visibility.py`).
"""

from __future__ import annotations

from collections.abc import Iterable

from django.utils import timezone

from taskhub.events.frames import Frame
from taskhub.events.types import Announced
from taskhub.models import Announcement

Announcements = dict[str, Announced]
"""By id, oldest first."""


def announced(announcement: Announcement) -> Announced:
    """The event with the announcement's current state."""
    return Announced(
        announcement_id=announcement.pk,
        level=announcement.level,
        text=announcement.text,
        made_by=announcement.made_by_name,
        created_at=announcement.created_at,
        ends_at=announcement.ends_at,
        withdrawn=announcement.withdrawn_at is not None,
    )


def read_announcements() -> Announcements:
    """The current announcements."""
    return {str(row.pk): announced(row) for row in Announcement.objects.current().order_by("created_at", "id")}


def note_announcements(announcements: Announcements, frames: Iterable[Frame]) -> None:
    """Apply these frames to `announcements`."""
    for frame in frames:
        if frame.announced is None:
            continue
        key = str(frame.announced.announcement_id)
        announcements.pop(key, None)
        if not frame.announced.withdrawn:
            announcements[key] = frame.announced


def holding(announcements: Announcements) -> list[Announced]:
    """Announcements that have not expired, newest first; expired ones are removed."""
    now = timezone.now()
    for key in [key for key, told in announcements.items() if told.ends_at is not None and told.ends_at <= now]:
        del announcements[key]
    return list(reversed(announcements.values()))
