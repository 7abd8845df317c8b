"""Subscription tracker of a web process: few statements for any number of streams.

Streams that open or close are saved together in batches. Every 10 s the event counts are written in one statement.
Every 2 s one query finds the streams that an operator wants closed. The hub's own report renews the leases of all
subscriptions of the process.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db import DatabaseError
from django.utils import timezone

from sandboxes.models import Subscription, Watching
from sandboxes.services.subscriptions import subscriptions_count, subscriptions_save
from sandboxes.watch.push_listener import PushListener
from taskhub.auth.sandbox_access import executed_in
from taskhub.events.hub import get_hub
from taskhub.events.open_streams import Slot
from taskhub.events.process_status import PROCESS_NAME
from taskhub.lib import awake
from taskhub.lib.cancellation import cancel_all
from taskhub.lib.per_loop import PerLoop
from taskhub.lib.wakeup import Wakeup
from taskhub.observability.log_context import for_all, task_for_all

log = logging.getLogger(__name__)

TOGETHER_S: Final = 0.05
"""Streams that open or close within this time are saved together."""
LOOK_S: Final = 2.0
COUNT_S: Final = 10.0
LATELY: Final = timedelta(minutes=5)
"""Longer than the interval between two checks of the tracker."""


class Watch:
    """A subscription with its stream."""

    __slots__ = ("counted", "events", "slot", "subscription", "tasks")

    def __init__(self, subscription: Subscription, slot: Slot, tasks: set[str]) -> None:
        self.subscription = subscription
        self.slot = slot
        self.tasks = tasks
        self.events = 0
        self.counted = 0


class Keeper:
    def __init__(self) -> None:
        self._watches: dict[UUID, Watch] = {}
        self._opened: list[Subscription] = []
        self._closed: list[UUID] = []
        self._status_of: Counter[str] = Counter()
        self._changed = Wakeup()
        self._task: asyncio.Task[None] | None = None
        self._push = PushListener(is_watched=lambda sandbox_id: sandbox_id in self._status_of)

    def open(self, subscription: Subscription, slot: Slot, tasks: set[str]) -> Watch:
        """Add a stream; it is removed when its slot is released. Tasks that are executed in its sandbox from now on are
        added to `tasks`."""
        subscription.process = PROCESS_NAME
        watch = self._watches[subscription.pk] = Watch(subscription, slot, tasks)
        self._opened.append(subscription)
        if subscription.kind == Watching.STATUS:
            self._status_of[subscription.sandbox_id] += 1
        slot.at_release(lambda: self._close(subscription.pk))
        if self._task is None:
            # The hub's reports are the leases; a log stream joins no channel that would start it.
            for_all(get_hub().start)
            self._task = task_for_all(self._keep(), name="subscriptions")
        self._changed.send()
        return watch

    def _close(self, subscription_id: UUID) -> None:
        subscription = self._watches.pop(subscription_id).subscription
        self._closed.append(subscription_id)
        if subscription.kind == Watching.STATUS:
            self._status_of -= Counter({subscription.sandbox_id: 1})
        self._changed.send()

    def __len__(self) -> int:
        return len(self._watches)

    async def _keep(self) -> None:
        count_at = time.monotonic() + COUNT_S
        while True:
            try:
                await self._save()
                if time.monotonic() >= count_at:
                    count_at = time.monotonic() + COUNT_S
                    await self._count()
                await self._disconnect()
                await self._note_tasks()
            except DatabaseError as error:
                log.warning("subscriptions cannot be saved (%s); retrying", type(error).__name__)
                await asyncio.sleep(LOOK_S)
            except Exception:
                # Never stop for any error: without the tracker no sandbox of this process is polled.
                log.exception("saving the subscriptions failed")
                await asyncio.sleep(LOOK_S)
            self._push.keep(wanted=bool(self._status_of))
            if not self._opened and not self._closed:
                try:
                    async with asyncio.timeout(LOOK_S):
                        await self._changed.wait()
                    await asyncio.sleep(TOGETHER_S)
                except TimeoutError:
                    continue

    async def _save(self) -> None:
        opened, self._opened = self._opened, []
        closed, self._closed = self._closed, []
        if not opened and not closed:
            return
        try:
            await get_hub().reader.run(_saved, [each for each in opened if each.pk in self._watches], closed)
        except BaseException:
            self._opened, self._closed = opened + self._opened, closed + self._closed
            raise

    async def _count(self) -> None:
        changed = [watch for watch in self._watches.values() if watch.events != watch.counted]
        if changed:
            events = {watch.subscription.pk: watch.events for watch in changed}
            await get_hub().reader.run(_counted, events)
            for watch in changed:
                watch.counted = events[watch.subscription.pk]
        if self._watches and await get_hub().reader.run(_kept) < len(self._watches):
            # This process did not report for so long that others considered it dead.
            self._opened = [watch.subscription for watch in self._watches.values()]

    async def _disconnect(self) -> None:
        if not self._watches:
            return
        for subscription_id in await get_hub().reader.run(_to_disconnect):
            if (watch := self._watches.get(subscription_id)) is not None:
                watch.slot.end("ended_by_operator")

    async def _note_tasks(self) -> None:
        """Add tasks of shared sandboxes, so that streams of callers who may not see these tasks are closed."""
        watched = {watch.subscription.sandbox_id for watch in self._watches.values()}
        if not watched:
            return
        executed = await get_hub().reader.run(_executed_lately, watched)
        for watch in self._watches.values():
            watch.tasks |= executed.get(watch.subscription.sandbox_id, set())

    async def close(self) -> None:
        """End the process's subscriptions with the process."""
        await self._push.close()
        if self._task is not None:
            await cancel_all(self._task)
            try:
                await self._save()
            except DatabaseError:
                log.info("the database does not answer; the subscriptions of this process end with their lease")


def _saved(opened: list[Subscription], closed: list[UUID]) -> None:
    subscriptions_save(opened=opened, closed=closed)


def _counted(events: dict[UUID, int]) -> None:
    subscriptions_count(events=events)


def _kept() -> int:
    awake.note(awake.SUBSCRIPTIONS)  # Redis may have lost it
    return Subscription.objects.filter(process=PROCESS_NAME).count()


def _executed_lately(sandbox_ids: set[str]) -> dict[str, set[str]]:
    """The tasks that were assigned to these sandboxes in the last minutes, by sandbox."""
    found = executed_in(sandbox_ids).filter(task__isnull=False, queued_at__gt=timezone.now() - LATELY)
    executed: dict[str, set[str]] = {}
    for sandbox_id, task_id in found.values_list("sandbox_id", "task_id"):
        executed.setdefault(sandbox_id, set()).add(str(task_id))
    return executed


def _to_disconnect() -> list[UUID]:
    asked = Subscription.objects.filter(process=PROCESS_NAME, disconnect_requested_at__isnull=False)
    return list(asked.values_list("pk", flat=True))


_keepers: Final = PerLoop(Keeper)


def get_keeper() -> Keeper:
    """The tracker of the running event loop: one per process, because a server runs one loop."""
    return _keepers.get()
