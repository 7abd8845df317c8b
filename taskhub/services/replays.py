"""Replays: an operator has events sent again to one open stream, as to a client that lost what it was told."""

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
    """Ask the process that holds the stream to send these events again, in order; it looks every 2 s.

    Answers how many of them are still kept, and so will go out. The frames have no SSE id, so the client's place in the
    stream stays where it is, and their envelopes are those of the first time; the stream's filters and what its caller
    may see hold for them too. Raises NotFound for a stream that has closed, or where none of the events is kept;
    Invalid for more than 1000 events.
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
        raise NotFound("None of these events is kept.", code="events_not_found")
    Replay.objects.create(listener=listener, numbers=kept)
    changes = {"account": [None, listener.account], "first": [None, kept[0]], "last": [None, kept[-1]]}
    changes["events"] = [None, len(kept)]
    audit_write(actor=actor, action="replay:request", subject=f"stream:{listener_id}", changes=changes)
    return len(kept)
