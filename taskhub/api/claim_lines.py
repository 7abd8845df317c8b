"""Queue of the agents of this process that wait for a task to claim.

All that wait with the same account, priorities and tags stand in one line: if a task is free for one of them it is free
for each. After an event by which a task may have become free, the first of each line looks; when it got one, the next
looks; when it got none, the others of its line need not. So one new task costs two looks per line, however many wait.
When a pause of the hub or of an account begins or ends, the first of its lines looks likewise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Final, NamedTuple

from django.contrib.auth.models import User

from taskhub.api.pause_watch import PauseWatch
from taskhub.api.stream_view import running_hub
from taskhub.api.waiting import Look, Seen
from taskhub.errors import Conflict
from taskhub.events.channels import TASKS
from taskhub.events.feed import Feed
from taskhub.events.filters import Filters
from taskhub.events.frames import read_envelopes
from taskhub.lib.per_loop import PerLoop
from taskhub.models import HUB, TaskStatus
from taskhub.observability.log_context import task_for_all
from taskhub.roles import Caller, Role, role_of
from taskhub.services.leases import PAUSED

_FREEING: Final = frozenset({"task_created", "task_updated", "task_ready"})


class Line(NamedTuple):
    """What all that stand in one line have in common."""

    account: str
    role: Role = Role.AGENT
    priority: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


def may_be_free(envelope: dict[str, Any]) -> bool:
    """Whether a task may be free to be claimed since this event; of a `stream-reset`, nothing is known."""
    if envelope["event"] not in _FREEING:
        return True
    return bool(envelope["data"].get("status", TaskStatus.TODO) == TaskStatus.TODO)


def _may_free(piece: bytes) -> bool:
    try:
        return any(map(may_be_free, read_envelopes(piece)))
    except (ValueError, KeyError, TypeError, AttributeError):
        return True  # published by something else under a name of ours: a look in vain costs less than one too few


class Place:
    """A place in a line, as `Signals` of a wait: `next` returns when it is this one's turn to look."""

    def __init__(self, lines: ClaimLines, line: Line) -> None:
        self._lines = lines
        self._line = line
        self._called = asyncio.Event()
        self._looks = False

    def call(self) -> None:
        self._called.set()

    async def next(self) -> None:
        """Asked again after a look in vain: then none of the line needs to look."""
        self._looks = False
        await self._called.wait()
        self._called.clear()
        self._looks = True

    async def close(self) -> None:
        """Leave the line. A turn that got a task, or was not used, goes to the next."""
        self._lines.leave(self._line, self, passes_on=self._looks or self._called.is_set())


class ClaimLines:
    """The lines of a process, and the tasks that follow the feed and the pauses while there are any."""

    def __init__(self) -> None:
        self._lines: dict[Line, list[Place]] = {}
        self._follower: asyncio.Task[None] | None = None
        self._pauses = PauseWatch(self._call_accounts)
        self.calls = 0

    async def join(self, line: Line) -> Place:
        """A place at the end of the line; it misses nothing from now on. Raises DatabaseError."""
        feed = await running_hub().feed(TASKS)
        place = Place(self, line)
        self._lines.setdefault(line, []).append(place)
        if self._follower is None or self._follower.done():
            self._pauses = PauseWatch(self._call_accounts)
            self._follower = task_for_all(self._follow(feed, feed.head, self._pauses), name="claim-lines")
        try:
            await self._pauses.opened()
        except BaseException:
            await place.close()
            raise
        return place

    def leave(self, line: Line, place: Place, *, passes_on: bool) -> None:
        places = self._lines[line]
        places.remove(place)
        if not places:
            del self._lines[line]
        elif passes_on:
            self._call(places)
        if not self._lines and self._follower is not None:
            self._follower.cancel()
            self._follower = None

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    async def _follow(self, feed: Feed, cursor: int, pauses: PauseWatch) -> None:
        async with asyncio.TaskGroup() as both:
            both.create_task(self._follow_feed(feed, cursor), name="claim-lines-feed")
            both.create_task(pauses.follow(), name="claim-lines-pauses")

    async def _follow_feed(self, feed: Feed, cursor: int) -> None:
        async with aclosing(feed.follow(cursor, Filters(types=_FREEING))) as pieces:
            async for piece in pieces:
                if _may_free(piece):
                    self._call_all(self._lines)

    def _call_accounts(self, accounts: set[str]) -> None:
        """Of the whole hub with HUB among them."""
        self._call_all(line for line in self._lines if {HUB, line.account} & accounts)

    def _call_all(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self._call(self._lines[line])

    def _call(self, places: list[Place]) -> None:
        self.calls += 1
        places[0].call()


claim_lines: Final = PerLoop(ClaimLines)


def claim_signals(account: User, wanted: Mapping[str, Any]) -> Callable[[], Awaitable[Place]]:
    """Joins the line of all that would take the same tasks, as `waiting` takes it; on the event loop.

    Whether any task is free is decided by the account and by what is `wanted`; which agent of the account asks only
    decides which one it gets.
    """
    priority, tags = (tuple(sorted(wanted.get(name, ()))) for name in ("priority", "tags"))
    line = Line(account.get_username(), role_of(account), priority, tags)

    async def joined() -> Place:
        return await claim_lines.get().join(line)

    return joined


def patient_look(look: Look) -> Look:
    """A pause of claims is waited for as a task is; `about` has it, where it still holds."""

    def looked(caller: Caller) -> Seen:
        try:
            return look(caller)
        except Conflict as error:
            if error.code != PAUSED:
                raise
            return Seen({}, mark=False, about=error)

    return looked
