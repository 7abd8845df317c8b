"""The only place that opens a stream.

The invariant: while it runs, a stream holds no thread, no database connection and no Redis connection of its own.
Django keeps a thread for as long as it streams a response, so a view answers with an `EventStream`, Django's
middleware sees an ordinary response, and `taskhub/web/asgi_handler.py` sends it after Django has let go of the request.

Every stream: `retry:` in the first event's block, a keepalive comment every 30 s. It ends when its client goes away
or takes no byte for 30 s; or, with a `disconnected` event that says why and when to come back, after a maximum age and
when the process leaves. Limits per process and per caller are settings; outcomes are counted.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal
from uuid import UUID, uuid4

from django.conf import settings
from django.utils import timezone

from taskhub.auth.rate_limits import whose_address
from taskhub.errors import Unavailable
from taskhub.events.frames import KEEPALIVE, encode_event
from taskhub.events.process_status import PROCESS_NAME
from taskhub.events.revocation import StreamCredential
from taskhub.events.types import Disconnected
from taskhub.lib.cancellation import cancel_all
from taskhub.models import StreamConnection
from taskhub.observability.log_context import task_for_all
from taskhub.web.detached_response import DetachedResponse, Receive, Send

log = logging.getLogger(__name__)

KEEPALIVE_S: Final = 30.0
STALL_S: Final = 30.0
RETRY_MS: Final = 2000
_RETRY: Final = f"retry: {RETRY_MS}\n".encode()
LEAVE_WINDOW_MS: Final = 5000
"""Over how long clients are asked to spread their return when a process leaves or recycles them."""

Farewell = Literal["shutdown", "recycled", "revoked", "ended_by_operator"]


def encode_disconnected(reason: Farewell, reconnect_in_ms: int) -> bytes:
    """The last words of `/api/events/stream`: a `message` with the envelope."""
    return encode_event(Disconnected(reason=reason, reconnect_in_ms=reconnect_in_ms))


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


class Slot:
    """A place among the streams of this process, held from the admission to the end of the stream."""

    def __init__(self, caller: str, credential: StreamCredential | None = None) -> None:
        self.caller = caller
        self.credential = credential
        # Asked with every look at the credentials, in memory: may the stream show what it shows?
        self.may_go_on: Callable[[], bool] = lambda: True
        self.stream: OpenStream | None = None
        # Of an event stream: what its row says, and the numbers of events that it is to send again.
        self.listening: Listening | None = None
        self.repeats: deque[int] = deque()
        self._at_release: list[Callable[[], None]] = []

    def at_release(self, callback: Callable[[], None]) -> None:
        """Call it once when the place is freed, however the stream ended, and also if it never opened."""
        self._at_release.append(callback)

    def release(self) -> None:
        """Free the place; a second time it does nothing."""
        registry.free(self)
        callbacks, self._at_release = self._at_release, []
        for callback in callbacks:
            callback()

    def end(self, reason: Farewell) -> None:
        """Close the stream with a `disconnected` event that says why."""
        if self.stream is not None:
            self.stream.end(reason, _spread_ms())


class ClientGone(Exception):
    """The server has no connection any more to send to."""


class EventStream(DetachedResponse):
    """What a view returns to open a stream: headers now, `source` afterwards.

    `greeting` is sent first; `source` yields whole frames; `farewell(reason, reconnect_in_ms)` is the last one when the
    server ends the stream.
    """

    def __init__(
        self,
        source: AsyncGenerator[bytes, None],
        *,
        slot: Slot,
        channel: str,
        greeting: bytes = b"",
        farewell: Callable[[Farewell, int], bytes] = encode_disconnected,
    ) -> None:
        super().__init__(content_type="text/event-stream; charset=utf-8")
        self.headers["Cache-Control"] = "no-cache, no-transform"
        self.headers["X-Accel-Buffering"] = "no"
        self.source = source
        self.greeting = greeting
        self.slot = slot
        self.channel = channel
        self.farewell = farewell

    async def run(self, receive: Receive, send: Send) -> None:
        await OpenStream(self, receive, send).run()


class OpenStream:
    """A stream that is being sent."""

    def __init__(self, response: EventStream, receive: Receive, send: Send) -> None:
        self.response = response
        self._receive = receive
        self._send = send
        self._task: asyncio.Task[None] | None = None
        self._keepalive: asyncio.Task[None] | None = None
        self.closed = asyncio.Event()
        self._farewell: bytes | None = None
        self.opened_at = time.monotonic()
        self.sending_since: float | None = None
        self._sends = 0
        self.next_keepalive = self.opened_at + KEEPALIVE_S
        self.outcome = "closed_by_client"

    async def run(self) -> None:
        registry.add(self)
        self._task = asyncio.create_task(self._pump())
        watch = asyncio.create_task(self._until_disconnect())
        try:
            await asyncio.wait({self._task, watch}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_all(*[task for task in (self._task, watch, self._keepalive) if task is not None])
            registry.remove(self)
            self.closed.set()

    async def _until_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _pump(self) -> None:
        try:
            await self._send_all()
        except asyncio.CancelledError:
            if self._farewell is None:
                raise
            await self._finish(self._farewell)
        except ClientGone:
            return
        except Exception:
            # The boundary of a stream, as a view is that of a request: its client reconnects, the log has the cause.
            self.outcome = "error"
            log.exception("the stream of %s failed", self.response.channel)

    async def _send_all(self) -> None:
        await self._send({"type": "http.response.start", "status": 200, "headers": self.response.raw_headers()})
        # A field of the first event: a block of its own would have no data, and several clients take it for an event.
        lead = _RETRY
        if self.response.greeting:
            await self.send(lead + self.response.greeting)
            lead = b""
        async with aclosing(self.response.source) as source:
            async for body in source:
                await self.send(lead + body)
                lead = b""
        self.outcome = "completed"
        await self._finish(b"")

    async def _finish(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def send(self, body: bytes) -> None:
        """Returns when the server's buffer has room again; a client that reads nothing blocks here."""
        self._sends += 1
        if self.sending_since is None:
            self.sending_since = registry.now
        try:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
        except (RuntimeError, OSError) as error:
            # uvicorn reports a closed connection in `receive`, unless another request is waiting on it.
            raise ClientGone from error
        finally:
            self._sends -= 1  # a keepalive and an event may both be waiting
            if not self._sends:
                self.sending_since = None

    def end(self, reason: Farewell, reconnect_in_ms: int) -> None:
        """Say goodbye and close, from the registry."""
        if self._task is None or self._task.done():
            return
        self.outcome = reason
        self._farewell = self.response.farewell(reason, reconnect_in_ms)
        self._task.cancel()

    def revoke(self) -> None:
        """Its caller may not see it any more. One that takes nothing now is not waited for."""
        if self.sending_since is not None:
            self.drop("revoked")
        else:
            self.end("revoked", _spread_ms())

    def keep_alive(self) -> None:
        """Send the comment, beside whatever the stream is waiting for."""
        self._keepalive = asyncio.create_task(self.send(KEEPALIVE))
        self._keepalive.add_done_callback(self._after_keepalive)

    def _after_keepalive(self, keepalive: asyncio.Task[None]) -> None:
        if not keepalive.cancelled() and keepalive.exception() is not None:
            self.drop("closed_by_client")

    def drop(self, outcome: str) -> None:
        """Nothing that could be said would arrive."""
        self.outcome = outcome
        if self._task is not None:
            self._task.cancel()


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

    def __len__(self) -> int:
        return len(self._streams)

    def per_channel(self) -> dict[str, int]:
        return dict(Counter(stream.response.channel for stream in self._streams))

    def listening(self) -> dict[UUID, Slot]:
        """The open event streams, by the ids of their rows."""
        slots = [stream.response.slot for stream in self._streams]
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
            slot = stream.response.slot
            if slot.credential in revoked or not slot.may_go_on():
                stream.revoke()

    def add(self, stream: OpenStream) -> None:
        self._streams.add(stream)
        self.opened += 1
        stream.response.slot.stream = stream
        if self._clock is None or self._clock.done():
            self.now = time.monotonic()
            self._clock = task_for_all(self._tick(), name="stream-clock")

    def remove(self, stream: OpenStream) -> None:
        self._streams.discard(stream)
        stream.response.slot.release()
        self.outcomes[stream.outcome] += 1

    async def _tick(self) -> None:
        while self._streams:
            await asyncio.sleep(1.0)
            self.now = time.monotonic()
            for stream in list(self._streams):
                self._look_at(stream, self.now)

    def _look_at(self, stream: OpenStream, now: float) -> None:
        if stream.sending_since is not None:
            if now - stream.sending_since > STALL_S:
                stream.drop("stalled")
        elif now - stream.opened_at > settings.TASKHUB_STREAM_MAX_AGE_S:
            stream.end("recycled", _spread_ms())
        elif now >= stream.next_keepalive:
            stream.next_keepalive += KEEPALIVE_S
            stream.keep_alive()

    async def leave(self, *, within_s: float = 5.0) -> None:
        """The process ends: take no more streams, say goodbye to all, and wait for them to close."""
        self.leaving = True
        streams = list(self._streams)
        for stream in streams:
            stream.end("shutdown", _spread_ms())
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                for stream in streams:
                    await stream.closed.wait()


def _who(caller: str) -> str:
    """An account has a key that begins with `user:`; others count by their address."""
    return "Your account" if caller.startswith("user:") else whose_address().capitalize()


def _spread_ms() -> int:
    return random.randint(250, LEAVE_WINDOW_MS)  # noqa: S311 - spreads load, hides nothing


class ProcessFull(Unavailable):
    default_code = "too_many_streams"


class TooManyStreams(Unavailable):
    status = 429
    default_code = "too_many_streams_of_caller"


registry = Registry()
