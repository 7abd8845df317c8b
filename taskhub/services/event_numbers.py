"""Event numbers after a backup was restored."""

from __future__ import annotations

from typing import Final

from django.db import transaction

from taskhub.auth.actor import Actor
from taskhub.events import outbox
from taskhub.services.audit import audit_write

LEAP: Final = 1_000_000_000
"""More events than can have been published since the backup."""


@transaction.atomic
def event_numbers_leap(*, actor: Actor) -> int:
    """Skip the numbers that were assigned between a backup and its restoration; returns the number of channels.

    Those events are lost, but clients remember their numbers. If the same numbers were assigned again, such a client
    would later resume in the middle of events it has never seen. After the skip the next number is unknown to all
    clients, and clients that resume from before it receive `stream-reset` and read everything again.
    """
    leaps = outbox.leap(LEAP)
    audit_write(actor=actor, action="event_numbers:leap", changes=leaps)
    return len(leaps)
