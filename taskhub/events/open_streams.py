"""Registry of the open streams of this process: admission and limits, keepalive, stall, maximum age, farewell."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID, uuid4

from django.conf import settings
from django.utils import timezone

from taskhub.auth.rate_limits import whose_address
from taskhub.errors import Unavailable
from taskhub.events.process_status import PROCESS_NAME
from taskhub.events.revocation import StreamCredential
from taskhub.lib.garbage import frozen
from taskhub.lib.wakeup import Wakeup
from taskhub.models import StreamConnection
from taskhub.observability.log_context import task_for_all

if TYPE_CHECKING:
    from taskhub.events.stream import OpenStream

KEEPALIVE_S: Final = 30.0
STALL_S: Final = 30.0
LEAVE_WINDOW_MS: Final = 5000
"""Over how long clients are asked to spread their return when a process leaves or recycles them."""

Farewell = Literal["shutdown", "recycled", "revoked", "ended_by_operator"]


@dataclass(frozen=True, slots=True)
class Listening:
    """What a stream's row will say."""

    account: str
    address: str
    filters: dict[str, str]
    id: UUID = field(default_factory=uuid4)
    opened_at: datetime = field(default_factory=timezone.now)

    def row(self) -> StreamConnection:
        return StreamConnection(
            id=self.id,
            account=self.account,
            address=self.address,
            filters=self.filters,
            process=PROCESS_NAME,
            opened_at=self.opened_at,
        )


def _always() -> bool:
    return True


class Slot:
    """A place among the streams of this process, held from the admission to the end of the stream."""

    __slots__ = ("_at_release", "caller", "credential", "listening", "may_go_on", "repeats", "stream")

    def __init__(self, caller: str, credential: StreamCredential | None = None) -> None:
        self.caller = caller
        self.credential = credential
        # Asked with every look at the credentials, in memory: may the stream show what it shows?
        self.may_go_on: Callable[[], bool] = _always
        self.stream: OpenStream | None = None
        # Of an event stream: what its row says, and the numbers of events that it is to send again.
        self.listening: Listening | None = None
        self.repeats: list[int] = []
        self._at_release: tuple[Callable[[], None], ...] = ()

    def at_release(self, callback: Callable[[], None]) -> None:
        """Call it once when the place is freed, however the stream ended, and also if it never opened."""
        self._at_release += (callback,)

    def release(self) -> None:
        """Free the place; a second time it does nothing."""
        registry.free(self)
        callbacks, self._at_release = self._at_release, ()
        for callback in callbacks:
            callback()

    def end(self, reason: Farewell) -> None:
        """Close the stream with a `disconnected` event that says why."""
        if self.stream is not None:
            self.stream.end(reason, spread_ms())


class Registry:
    """The open streams of this process, their limits, and the clock that all of them share."""

    def __init__(self) -> None:
        self._streams: set[OpenStream] = set()
        self._slots: set[Slot] = set()
        self._per_caller: Counter[str] = Counter()
        self.opened = 0
        self.outcomes: Counter[str] = Counter()
        self._clock: asyncio.Task[None] | None = None
        # Read once a second, for all streams: none of them asks the clock for every event.
        self.now = time.monotonic()
        self.leaving = False
        # Those that were told that the process leaves.
        self._told: set[OpenStream] = set()
        self._all_left = Wakeup()

    def __len__(self) -> int:
        return len(self._streams)

    def per_channel(self) -> dict[str, int]:
        return dict(Counter(stream.channel for stream in self._streams))

    def listening(self) -> dict[UUID, Slot]:
        """The open event streams, by the ids of their rows."""
        slots = [stream.slot for stream in self._streams]
        return {slot.listening.id: slot for slot in slots if slot.listening is not None}

    def admit(self, caller: str, credential: StreamCredential | None = None) -> Slot:
        """A slot, taken at once so that no burst slips through; it must go into a stream, or be released.

        Raises Unavailable (503) when the process is full or leaving; TooManyStreams (429) above the caller's limit."""
        if self.leaving or len(self._slots) >= settings.TASKHUB_STREAM_LIMIT:
            raise ProcessFull("This process takes no more streams now; come back after Retry-After seconds.")
        if self._per_caller[caller] >= settings.TASKHUB_STREAM_LIMIT_PER_CALLER:
            raise TooManyStreams(f"{_who(caller)} has as many streams open as it may; close one first.")
        slot = Slot(caller, credential)
        self._slots.add(slot)
        self._per_caller[caller] += 1
        return slot

    def free(self, slot: Slot) -> None:
        if slot in self._slots:
            self._slots.remove(slot)
            self._per_caller[slot.caller] -= 1
            if not self._per_caller[slot.caller]:
                del self._per_caller[slot.caller]

    def credentials(self) -> set[StreamCredential]:
        """What the open streams stand on; those of open reading stand on nothing."""
        return {slot.credential for slot in self._slots if slot.credential is not None}

    def end_revoked(self, revoked: set[StreamCredential]) -> None:
        """Close the streams whose credentials were revoked, and those that may no longer show what they show."""
        for stream in list(self._streams):
            slot = stream.slot
            if slot.credential in revoked or not slot.may_go_on():
                stream.revoke()

    def add(self, stream: OpenStream) -> None:
        self._streams.add(stream)
        self.opened += 1
        stream.slot.stream = stream
        if self._clock is None or self._clock.done():
            self.now = time.monotonic()
            self._clock = task_for_all(self._tick(), name="stream-clock")

    def remove(self, stream: OpenStream) -> None:
        self._streams.discard(stream)
        slot = stream.slot
        slot.stream = None  # each has the other: no garbage for the collector
        slot.release()
        self.outcomes[stream.outcome] += 1
        if stream in self._told:
            self._told.remove(stream)
            if not self._told:
                self._all_left.send()

    async def _tick(self) -> None:
        while self._streams:
            await asyncio.sleep(1.0)
            self.now = time.monotonic()
            for stream in list(self._streams):
                self._look_at(stream, self.now)
            frozen.follow(len(self._streams))

    def _look_at(self, stream: OpenStream, now: float) -> None:
        if stream.sending_since is not None:
            if now - stream.sending_since > STALL_S:
                stream.drop("stalled")
        elif now - stream.opened_at > settings.TASKHUB_STREAM_MAX_AGE_S:
            stream.end("recycled", spread_ms())
        elif now >= stream.next_keepalive:
            stream.next_keepalive += KEEPALIVE_S
            stream.keep_alive()

    async def leave(self, *, within_s: float = 5.0) -> None:
        """The process ends: take no more streams, say goodbye to all, and wait for them to close."""
        self.leaving = True
        self._told = set(self._streams)
        for stream in list(self._streams):
            stream.end("shutdown", spread_ms())
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._told:
                    await self._all_left.wait()


def _who(caller: str) -> str:
    """An account has a key that begins with `user:`; others count by their address."""
    return "Your account" if caller.startswith("user:") else whose_address().capitalize()


def spread_ms() -> int:
    return random.randint(250, LEAVE_WINDOW_MS)  # noqa: S311 - spreads load, hides nothing


class ProcessFull(Unavailable):
    default_code = "too_many_streams"


class TooManyStreams(Unavailable):
    status = 429
    default_code = "too_many_streams_of_caller"


registry = Registry()
