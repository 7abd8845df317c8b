"""Events of the outbox by name, for operators."""

from __future__ import annotations

from typing import Final

from django.db.models import QuerySet
from django.db.models.functions import Substr
from django_eventstream.models import Event

# An envelope begins with its id, a UUID, and then its name: {"id":"…","event":"task_created",…
NAME_AT: Final = len('{"id":"') + 36 + len('","event":"') + 1


def events_named(events: QuerySet[Event], name: str) -> QuerySet[Event]:
    """Events whose envelope has this name."""
    named: QuerySet[Event] = events.alias(said=Substr("data", NAME_AT, len(name) + 1)).filter(said=f'{name}"')
    return named
