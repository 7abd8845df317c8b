"""Garbage collection of a web process: thresholds, and freezing of what stays.

Reference counts free nearly everything; the collector looks for cycles, and with Python's own thresholds it walks all
open streams every few thousand allocations. Here it begins later, and what is loaded and the open streams are frozen:
it does not look at them. A closed stream leaves no cycles (a test holds that), so freezing keeps none of it.

The price: up to `THRESHOLDS[0]` objects of garbage wait for the collector, and what was in a cycle while it was frozen
waits until half of the streams are gone.
"""

from __future__ import annotations

import gc
from typing import Final

THRESHOLDS: Final = (10_000, 20, 20)
STEP: Final = 1000
"""Streams by which their number must grow before they are frozen: a collection over a step's takes some 10 ms."""


class Frozen:
    """What the collector leaves alone. Does nothing before `begin`."""

    def __init__(self) -> None:
        self._has_begun = False
        self._streams = 0

    def begin(self) -> None:
        """What is loaded so far stays: a full collection over it would stop every stream for 0.1 s."""
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)
        gc.enable()
        self._has_begun = True

    def follow(self, streams: int) -> None:
        """So many streams are open. Freezes them as they become more, and starts anew when half of them are gone."""
        if not self._has_begun:
            return
        if streams >= self._streams + STEP:
            gc.collect()
            gc.freeze()
        elif streams < self._streams // 2:
            gc.unfreeze()
            gc.collect()
            gc.freeze()
        else:
            return
        self._streams = streams


frozen: Final = Frozen()
