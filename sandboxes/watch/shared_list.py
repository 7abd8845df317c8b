"""Shared list: one request to Daytona for all open pages that show its sandboxes.

What a page of the list was read with is its mark: the number of the last event of tasks, and of the last change of a
sandbox's state that the hub knows. The page is read anew

1. when the state of a sandbox has changed: an account has started, stopped or deleted one, in whichever process;
2. when something happened to a task or an execution, but then at most every `CALM_S`;
3. after `FRESH_S`, for what happens at Daytona alone.

The cost is thus that of one page that is open, however many are.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final, NamedTuple

from django.db.models import Max

from sandboxes.gateway import Page, open_gateway
from sandboxes.models import StateChange
from sandboxes.watch.polling import SingleFlight
from taskhub.events.channels import TASKS
from taskhub.events.outbox import read_heads
from taskhub.lib.per_loop import PerLoop
from taskhub.web.thread_pool import with_database

FRESH_S: Final = 14.0
"""Less than the period of the page (`list.js`), so that each of its periods may read."""
CALM_S: Final = 4.0
"""Less than the time between an event and the reading of a page after it, which is to see what has happened."""
_KEPT: Final = 16


class Mark(NamedTuple):
    last_event: int
    last_change: int


class _Kept(NamedTuple):
    page: Page
    read_at: float
    mark: Mark

    def holds(self, mark: Mark) -> bool:
        age_s = time.monotonic() - self.read_at
        return mark.last_change == self.mark.last_change and (
            age_s < CALM_S or (age_s < FRESH_S and mark.last_event == self.mark.last_event)
        )


_kept: Final[OrderedDict[tuple[str, int], _Kept]] = OrderedDict()
_flights: Final = PerLoop(SingleFlight)


async def shared_page(cursor: str | None, limit: int) -> Page:
    """A page of all sandboxes, the most recently active first, as old as the module says. Raises SandboxError."""
    key, mark = (cursor or "", limit), await with_database(_mark)
    kept = _kept.get(key)
    if kept is None or not kept.holds(mark):
        kept = await _flights.get().run((*key, mark.last_change), lambda: _read(key, mark))
    return kept.page


async def _read(key: tuple[str, int], mark: Mark) -> _Kept:
    began_at = time.monotonic()
    cursor, limit = key
    async with open_gateway(watching=True) as gateway:
        page = await gateway.page(cursor or None, limit=limit)
    kept = _kept[key] = _Kept(page, began_at, mark)
    while len(_kept) > _KEPT:
        _kept.popitem(last=False)
    return kept


def forget() -> None:
    """For tests, whose rows come and go."""
    _kept.clear()


def _mark() -> Mark:
    last_change = StateChange.objects.aggregate(last=Max("pk"))["last"] or 0
    return Mark(read_heads([TASKS])[TASKS], last_change)
