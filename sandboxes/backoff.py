"""Back-off: delay before the next request to a failing Daytona."""

from __future__ import annotations

import random
from typing import Final

from sandboxes.errors import SandboxError, SandboxUnavailable

RETRY_AFTER_MOST_S: Final = 300.0


class Backoff:
    """Exponential, with full jitter, so that clients that failed together do not retry together."""

    def __init__(self, first_s: float = 0.5, most_s: float = 30.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._failures = 0

    def reset(self) -> None:
        """Call after a success."""
        self._failures = 0

    def next_s(self, error: SandboxError | None = None) -> float:
        """Seconds to wait after one more failure; at least what Daytona asked for."""
        ceiling = min(self._most_s, self._first_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        asked_s = error.retry_after_s if isinstance(error, SandboxUnavailable) else None
        wait_s = random.uniform(self._first_s / 10, ceiling)  # noqa: S311 - spreads load, hides nothing
        return max(wait_s, min(asked_s or 0.0, RETRY_AFTER_MOST_S))
