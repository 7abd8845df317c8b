"""Announcements: make one, and take it back."""

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
"""All that hold go to everybody who connects."""


@transaction.atomic
def announcement_create(*, actor: Actor, text: str, level: str, ends_at: datetime | None = None) -> Announcement:
    """Tell everybody; without `ends_at` it holds until it is withdrawn.

    Raises Conflict for an end that has passed, and while 20 others hold.
    """
    if ends_at is not None and ends_at <= timezone.now():
        # No wrong field: a minute ago it was right.
        raise Conflict("The announcement would be over already.", code="announcement_over")
    if Announcement.objects.current().count() >= CURRENT_LIMIT:
        raise Conflict(
            f"{CURRENT_LIMIT} announcements hold already; withdraw one first.", code="too_many_announcements"
        )
    announcement = Announcement.objects.create(
        text=text, level=level, ends_at=ends_at, made_by=actor.user, made_by_name=actor.name
    )
    changes = {"level": [None, level], "text": [None, text], "ends_at": [None, iso(ends_at) if ends_at else None]}
    audit_write(actor=actor, action="announcement:create", subject=f"announcement:{announcement.pk}", changes=changes)
    publish(announced(announcement))
    return announcement


@transaction.atomic
def announcement_withdraw(*, actor: Actor, announcement_id: UUID) -> Announcement:
    """Tell everybody that it holds no longer. Raises NotFound; Conflict where it does not hold any more."""
    announcement = Announcement.objects.select_for_update().filter(pk=announcement_id).first()
    if announcement is None:
        raise NotFound("There is no such announcement.", code="announcement_not_found")
    if not announcement.is_current:
        raise Conflict("The announcement is over.", code="announcement_over")
    announcement.withdrawn_at = timezone.now()
    announcement.save(update_fields=["withdrawn_at"])
    changes = {"withdrawn_at": [None, iso(announcement.withdrawn_at)]}
    audit_write(actor=actor, action="announcement:withdraw", subject=f"announcement:{announcement.pk}", changes=changes)
    publish(announced(announcement))
    return announcement
