"""Replays: an operator has events sent again to one open stream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from django.db import transaction
from django_eventstream.models import Event

from taskhub.auth.actor import Actor
from taskhub.errors import Invalid, NotFound
from taskhub.events.channels import TASKS
from taskhub.events.process_status import ALIVE_FOR
from taskhub.models import Replay, StreamConnection
from taskhub.services.audit import audit_write

REPLAY_LIMIT: Final = 1000
"""Events of one replay."""


@transaction.atomic
def replay_request(*, actor: Actor, listener_id: UUID, numbers: Iterable[int]) -> int:
    """Ask the process that holds the stream to send these events again, in order; it checks every 2 s.

    Returns how many of them are still kept, and so will be sent. The frames have no SSE id, so the client's position in
    the stream does not move, and their envelopes are the original ones; the stream's filters and the permissions of its
    caller still apply. Raises NotFound if the stream has closed or none of the events is kept; Invalid for more than
    1000 events.
    """
    wanted = sorted(set(numbers))
    if len(wanted) > REPLAY_LIMIT:
        raise Invalid(f"At most {REPLAY_LIMIT} events can be sent again at a time.", code="too_many_events")
    listener = (
        StreamConnection.objects.of_living(ALIVE_FOR).select_for_update(of=("self",)).filter(pk=listener_id).first()
    )
    if listener is None:
        raise NotFound("The stream has closed.", code="stream_not_found")
    events = Event.objects.filter(channel=TASKS, eid__in=wanted).order_by("eid")
    kept = list(events.values_list("eid", flat=True))
    if not kept:
        raise NotFound("All of these events have expired.", code="events_not_found")
    Replay.objects.create(listener=listener, numbers=kept)
    changes = {"account": [None, listener.account], "first": [None, kept[0]], "last": [None, kept[-1]]}
    changes["events"] = [None, len(kept)]
    audit_write(actor=actor, action="replay:request", subject=f"stream:{listener_id}", changes=changes)
    return len(kept)
