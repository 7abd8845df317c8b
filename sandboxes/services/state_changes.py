"""State changes of sandboxes: a row for each state that the hub sees, and for each that an account asks for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.db.models import Max
from django.utils import timezone

from sandboxes.models import StateChange
from taskhub.auth.actor import Actor


def states_note(states: Mapping[str, str]) -> None:
    """The states of these sandboxes as just seen, by id; those that are known already add nothing."""
    if not states:
        return
    newest = StateChange.objects.filter(sandbox_id__in=list(states)).order_by().values("sandbox_id")
    last = StateChange.objects.filter(pk__in=newest.annotate(last=Max("pk")).values("last"))
    known = dict(last.values_list("sandbox_id", "state"))
    now = timezone.now()
    StateChange.objects.bulk_create(
        StateChange(sandbox_id=sandbox_id, state=state, at=now)
        for sandbox_id, state in states.items()
        if known.get(sandbox_id) != state
    )


def state_note_action(*, actor: Actor, action: str, sandbox_id: str, state: str) -> None:
    """What an account asked for, and the state that this led to."""
    StateChange.objects.create(sandbox_id=sandbox_id, state=state[:50], at=timezone.now(), action=action, by=actor.name)


def state_changes_forget(*, before: datetime) -> None:
    StateChange.objects.filter(at__lt=before).delete()
