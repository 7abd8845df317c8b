"""Leases and deadlines judged on the monotonic clock, as Kubernetes' leader election does.

A row has a time of the day, and that clock may be set: forward, and a lease that is being renewed seems to be over;
back, and one whose holder has died seems to last for an hour. So a process judges by what it has seen itself: a lease
is over when its row has stayed the same, for the whole length of the lease, on this process's monotonic clock. A
process that has just started therefore waits for one whole lease.

A deadline that does no harm when it comes early counts from the first sight of its row, for the time that was left.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone

REMEMBERED: Final = 50_000
"""Rows that are watched at a time; beyond it the one that was looked at least recently is forgotten, and waits anew."""


@dataclass(frozen=True, slots=True)
class _Seen:
    mark: Hashable
    past_at: float


class Watch:
    """What a process has seen of rows, from any thread. `clock`: seconds that nothing sets."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._seen: OrderedDict[Hashable, _Seen] = OrderedDict()

    def lease_is_past(self, key: Hashable, mark: Hashable, length_s: float) -> bool:
        """Whether the row `key` has had the same `mark` (what a renewal changes) for `length_s` seconds."""
        return self._is_past(key, mark, lambda: length_s)

    def moment_is_past(self, key: Hashable, moment: datetime, at_most: timedelta) -> bool:
        """Whether `moment` has come, which was never more than `at_most` ahead."""
        return self._is_past(key, moment, lambda: min((moment - timezone.now()), at_most).total_seconds())

    def _is_past(self, key: Hashable, mark: Hashable, left_s: Callable[[], float]) -> bool:
        now = self.clock()
        with self._lock:
            seen = self._seen.get(key)
            if seen is None or seen.mark != mark:
                seen = self._seen[key] = _Seen(mark, now + left_s())
                if len(self._seen) > REMEMBERED:
                    self._seen.popitem(last=False)
            else:
                self._seen.move_to_end(key)
        return now >= seen.past_at

    def forget(self) -> None:
        """As after a restart."""
        with self._lock:
            self._seen.clear()


watch: Final = Watch()
"""This process's."""
