"""Watch on the pauses of claims, for agents of this process that wait for a task.

A pause begins and ends when an operator sets it, or at its `paused_until`. The service's message tells the first at
once; a look every 2 s finds what no message told, and the end of a pause by time is looked for when it has come.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Final, NamedTuple

from django.db import DatabaseError
from django.utils import timezone

from taskhub.api.stream_view import running_hub
from taskhub.events.channels import ADMISSION
from taskhub.models import AdmissionRule

log = logging.getLogger(__name__)

LOOK_S: Final = 2.0
_LEAST_S: Final = 0.05
"""Between two looks, where the clock of the loop is a little ahead of the other one."""


class Pauses(NamedTuple):
    """By account, HUB among them: when its rule was set, and whether that pauses it. `next_end` is that of a pause."""

    rules: dict[str, tuple[datetime, bool]]
    next_end: datetime | None


def read_pauses() -> Pauses:
    now = timezone.now()
    found = list(AdmissionRule.objects.only("account", "paused", "paused_until", "changed_at"))
    ends = [rule.paused_until for rule in found if rule.is_paused(now) and rule.paused_until is not None]
    return Pauses({rule.account: (rule.changed_at, rule.is_paused(now)) for rule in found}, min(ends, default=None))


class PauseWatch:
    """Calls `on_change` with the accounts of which a pause may have begun or ended since the last look."""

    def __init__(self, on_change: Callable[[set[str]], None]) -> None:
        self._on_change = on_change
        self._seen = Pauses({}, None)
        self._has_looked = asyncio.Event()

    async def opened(self) -> None:
        """Return when it has looked: from then on it misses no change."""
        await self._has_looked.wait()

    async def follow(self) -> None:
        """Watch until it is cancelled."""
        reader = running_hub().join_live(ADMISSION)
        try:
            while True:
                await self._look()
                with suppress(TimeoutError):
                    await asyncio.wait_for(reader.next(), self._rest_s())
        finally:
            reader.leave()
            self._has_looked.set()

    async def _look(self) -> None:
        found = self._seen._replace(next_end=None)
        try:
            found = await running_hub().reader.run(read_pauses)
        except DatabaseError as error:
            log.info("pauses cannot be read (%s); trying again", type(error).__name__)
        except Exception:
            # Whatever it was, the next look must come: who follows the events ends with this watch.
            log.exception("the look at the pauses failed")
        before, self._seen = self._seen.rules, found
        changed = {name for name in before.keys() | found.rules.keys() if before.get(name) != found.rules.get(name)}
        if changed and self._has_looked.is_set():
            self._on_change(changed)
        self._has_looked.set()

    def _rest_s(self) -> float:
        end = self._seen.next_end
        if end is None:
            return LOOK_S
        return min(LOOK_S, max(_LEAST_S, (end - timezone.now()).total_seconds()))
