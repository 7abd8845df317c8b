"""Announcements: create, withdraw."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from taskhub.auth.actor import Actor
from taskhub.errors import Conflict, NotFound
from taskhub.events.announcements import announced
from taskhub.events.publish import publish
from taskhub.lib.timestamps import iso
from taskhub.models import Announcement
from taskhub.services.audit import audit_write

CURRENT_LIMIT: Final = 20
"""All current announcements are sent to every client that connects."""


@transaction.atomic
def announcement_create(*, actor: Actor, text: str, level: str, ends_at: datetime | None = None) -> Announcement:
    """Announce to all clients; without `ends_at` the announcement is current until it is withdrawn.

    Raises Conflict for an end in the past, and while 20 others are current.
    """
    if ends_at is not None and ends_at <= timezone.now():
        # A Conflict, not a wrong field: a minute ago the value was right.
        raise Conflict("ends_at has passed; send a later time.", code="announcement_over")
    if Announcement.objects.current().count() >= CURRENT_LIMIT:
        raise Conflict(f"{CURRENT_LIMIT} announcements are current; withdraw one first.", code="too_many_announcements")
    announcement = Announcement.objects.create(
        text=text, level=level, ends_at=ends_at, made_by=actor.user, made_by_name=actor.name
    )
    changes = {"level": [None, level], "text": [None, text], "ends_at": [None, iso(ends_at) if ends_at else None]}
    audit_write(actor=actor, action="announcement:create", subject=f"announcement:{announcement.pk}", changes=changes)
    publish(announced(announcement))
    return announcement


@transaction.atomic
def announcement_withdraw(*, actor: Actor, announcement_id: UUID) -> Announcement:
    """Withdraw an announcement and tell all clients. Raises NotFound; Conflict if it is no longer current."""
    announcement = Announcement.objects.select_for_update().filter(pk=announcement_id).first()
    if announcement is None:
        raise NotFound("Announcement not found.", code="announcement_not_found")
    if not announcement.is_current:
        raise Conflict("The announcement has ended.", code="announcement_over")
    announcement.withdrawn_at = timezone.now()
    announcement.save(update_fields=["withdrawn_at"])
    changes = {"withdrawn_at": [None, iso(announcement.withdrawn_at)]}
    audit_write(actor=actor, action="announcement:withdraw", subject=f"announcement:{announcement.pk}", changes=changes)
    publish(announced(announcement))
    return announcement
