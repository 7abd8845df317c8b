"""Whether a runner has died, from looks at it."""

from __future__ import annotations

from typing import Final

from taskhub.executions.executor import RunnerState

UNBEGUN_LOOKS: Final = 6
"""After so many, a runner that has not begun will not: the shell that was to start it has ended, say."""
UNSEEN_LOOKS: Final = 2
"""After so many, a runner whose folder its script has hidden, and of which no process is seen, has died."""


class RunnerWatch:
    """The looks at one runner, by one worker."""

    def __init__(self) -> None:
        self._was_seen = False
        self._unbegun = 0
        self._unseen = 0

    @property
    def has_begun(self) -> bool:
        return self._unbegun < UNBEGUN_LOOKS

    def says_dead(self, state: RunnerState) -> bool:
        """Whether it is dead, by this look and those before."""
        was_seen, self._was_seen = self._was_seen, state.seen
        self._unseen = 0 if state.seen or state.apart else self._unseen + 1
        if state.lock == "unbegun":
            self._unbegun += 1
            return not self.has_begun and not state.seen
        if state.lock == "hidden" and self._unseen >= UNSEEN_LOOKS:
            return True
        if state.lock in {"hidden", "missing"}:
            return was_seen and not state.seen
        return state.lock == "free"
