"""Circuit breaker for Daytona's API.

closed → (5 failures in a row, or a 429) → open → (the time is over) → half-open: one request is sent
half-open → (it succeeds) → closed; → (it fails) → open, for longer

While it is open, every request fails at once with the remaining seconds. The process has one breaker, shared by all
its jobs and streams.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from sandboxes.backoff import Backoff
from sandboxes.errors import SandboxUnavailable

FAILURES: Final = 5
PROBE_S: Final = 15.0
"""A probe without a result after this time is considered lost."""


class Breaker:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._backoff = Backoff(first_s=2.0, most_s=60.0)
        self._failures = 0
        self._open_until: float | None = None
        self._probing_until = 0.0

    def check(self) -> None:
        """Raises SandboxUnavailable while the breaker is open."""
        with self._lock:
            if self._open_until is None:
                return
            now = self._clock()
            if now < self._open_until:
                raise SandboxUnavailable(self._open_until - now)
            if now < self._probing_until:
                raise SandboxUnavailable(1.0)
            self._probing_until = now + PROBE_S

    def succeeded(self) -> None:
        """Daytona answered, even if it refused."""
        if self._failures or self._open_until is not None:
            with self._lock:
                self._failures = 0
                self._open_until = None
                self._probing_until = 0.0
                self._backoff.reset()

    def failed(self, error: SandboxUnavailable) -> None:
        with self._lock:
            if self._open_until is not None and self._clock() < self._open_until:
                return  # started before the breaker opened: no new information
            self._failures += 1
            if error.retry_after_s is not None or self._failures >= FAILURES:
                self._open_until = self._clock() + self._backoff.next_s(error)
                self._probing_until = 0.0


breaker = Breaker()
"""This process's, for Daytona's own API. A failure inside a sandbox is not a failure of Daytona."""
