"""Room for sandboxes, in one look at the queue: within the sums that the settings allow, and what the service has.

The settings' sums are never passed. Of the service it is known what it refused (`services/capacity.py`): beyond that,
one execution is tried at a time. The first in line that does not fit lets smaller ones go before it for 60 s; then the
line is held, until sandboxes that go make room for it. It is not held for one that would not fit beside no sandbox of
ours: no wait of the others helps it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from taskhub.lib.leases import watch
from taskhub.models import RESOURCES, AdmissionState
from taskhub.services.capacity import Needing, is_bounded, needs_capacity
from taskhub.services.sandbox_sizes import (
    NOTHING,
    SETTINGS,
    WORDS,
    Sized,
    Together,
    capacity_limits,
    held_sandboxes,
    size_of,
)

PASSING: Final = timedelta(seconds=60)
"""How long smaller ones go before the first in line."""
_SANDBOXES: Final = "sandboxes"
_Sums = dict[str, int]


class Queued(Needing, Sized, Protocol):
    """A row of the queue."""

    @property
    def pk(self) -> UUID: ...

    @property
    def passed_over_at(self) -> datetime | None: ...


class SandboxRoom:
    """`may_try`: one execution may be started beyond what is known of the service."""

    def __init__(self, state: AdmissionState, *, may_try: bool) -> None:
        self.is_bounded = is_bounded(state)
        """Something is known of what the service has room for."""
        self._set: _Sums = {str(name): limit for name, limit in capacity_limits().items()}
        self._learnt = _learnt(state)
        self._is_throttled = state.throttled_until is not None
        self.held = held_sandboxes() if self.is_bounded or self._set else NOTHING
        self._used = _sums(self.held)
        self._may_try = may_try
        self._tried: UUID | None = None
        self._is_held_line = False
        self.first: Queued | None = None
        """The first in line that does not fit."""

    def never_fits(self, execution: Queued) -> str:
        """Why it can never be started, whatever is given back; empty where it can."""
        if not self._set or execution.requested_sandbox_id:
            return ""
        needs = size_of(execution)._asdict()
        found = [name for name in RESOURCES if needs[name] > self._set.get(name, needs[name])]
        if not found:
            return ""
        name = found[0]
        return (
            f"Its sandbox has {needs[name]} {WORDS[name]}, and all sandboxes of this hub together may have "
            f"{self._set[name]} ({SETTINGS[name]})."
        )

    def has_room_for(self, execution: Queued) -> bool:
        """Asked of each in its turn, and followed by `take` where it is started."""
        if not needs_capacity(execution):
            return True
        if self._is_throttled or self._is_held_line:
            return False
        is_unbound = not self._set and not self._learnt
        return is_unbound or self._fits(execution, self._set, self._learnt) or self._is_tried(execution)

    def _is_tried(self, execution: Queued) -> bool:
        """Whether one that does not fit is tried all the same: the first in line, or none."""
        if self.first is not None or self._tried is not None:
            return False
        if self._may_try and self._fits(execution, self._set):
            self._tried = execution.pk
            return True
        self.first = execution
        self._is_held_line = _was_passed(execution) and _is_within(_needs(execution), self._learnt)
        return False

    def take(self, execution: Queued) -> bool:
        """Count it; True where it is the one that is tried."""
        if needs_capacity(execution):
            for name, amount in _needs(execution).items():
                self._used[name] += amount
        return execution.pk == self._tried

    def _fits(self, execution: Queued, *limits: _Sums) -> bool:
        sums = {name: self._used[name] + amount for name, amount in _needs(execution).items()}
        return all(_is_within(sums, each) for each in limits)


def _learnt(state: AdmissionState) -> _Sums:
    """What the service has: sums where it named what it lacks, else the number of sandboxes."""
    sums = {str(name): getattr(state, f"{name}_ceiling") for name in RESOURCES}
    found = {name: ceiling for name, ceiling in sums.items() if ceiling is not None}
    return found if found or state.ceiling is None else {_SANDBOXES: state.ceiling}


def _needs(execution: Sized) -> _Sums:
    return _sums(Together(1, size_of(execution)))


def _sums(together: Together) -> _Sums:
    return {**together.size._asdict(), _SANDBOXES: together.sandboxes}


def _is_within(sums: _Sums, limits: _Sums) -> bool:
    return all(sums[name] <= limit for name, limit in limits.items())


def _was_passed(execution: Queued) -> bool:
    """Smaller ones have gone before it for long enough; by the monotonic clock."""
    since = execution.passed_over_at
    return since is not None and watch.moment_is_past(("passed", execution.pk), since + PASSING, PASSING)
