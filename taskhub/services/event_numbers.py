"""The numbers of events, after a backup was restored."""

from __future__ import annotations

from typing import Final

from django.db import transaction

from taskhub.auth.actor import Actor
from taskhub.events import outbox
from taskhub.services.audit import audit_write

LEAP: Final = 1_000_000_000
"""More events than there can have been since the backup."""


@transaction.atomic
def event_numbers_leap(*, actor: Actor) -> int:
    """Leave out the numbers that were given between a backup and its restoration; returns how many channels there are.

    Those events are lost, but clients remember their numbers. Were the same numbers given again, such a client would
    one day resume in the middle of events it has never seen. So the next event gets a number that none of them can
    know, and whoever resumes from before it is told by `stream-reset` to read everything anew.
    """
    leaps = outbox.leap(LEAP)
    audit_write(actor=actor, action="event_numbers:leap", changes=leaps)
    return len(leaps)
