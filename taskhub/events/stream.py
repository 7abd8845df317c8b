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
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Final

from taskhub.events.channel_reader import ChannelReader
from taskhub.events.frames import KEEPALIVE, encode_event
from taskhub.events.open_streams import KEEPALIVE_S, Farewell, Slot, registry, spread_ms
from taskhub.events.types import Disconnected
from taskhub.lib.cancellation import cancel_all
from taskhub.web.detached_response import DetachedResponse, Receive, Send, raw_headers
from taskhub.web.direct_transport import direct_transport, encode_chunk

log = logging.getLogger(__name__)

RETRY_MS: Final = 2000
STREAM_TYPE: Final = "text/event-stream; charset=utf-8"
_RETRY: Final = f"retry: {RETRY_MS}\n".encode()
_KEEPALIVE_CHUNK: Final = encode_chunk(KEEPALIVE)


def encode_disconnected(reason: Farewell, reconnect_in_ms: int) -> bytes:
    """The last words of `/api/events/stream`: a `message` with the envelope."""
    return encode_event(Disconnected(reason=reason, reconnect_in_ms=reconnect_in_ms))


class ClientGone(Exception):
    """The server has no connection any more to send to."""


class EventStream(DetachedResponse):
    """What a view returns to open a stream: headers now, `source` afterwards.

    `greeting` is sent first; `source` yields whole frames, or reads a channel; `farewell(reason, reconnect_in_ms)` is
    the last frame when the server ends the stream.
    """

    def __init__(
        self,
        source: AsyncGenerator[bytes, None] | ChannelReader,
        *,
        slot: Slot,
        channel: str,
        greeting: bytes = b"",
        farewell: Callable[[Farewell, int], bytes] = encode_disconnected,
    ) -> None:
        super().__init__(content_type=STREAM_TYPE)
        self.headers["Cache-Control"] = "no-cache, no-transform"
        self.headers["X-Accel-Buffering"] = "no"
        self.source = source
        self.greeting = greeting
        self.slot = slot
        self.channel = channel
        self.farewell = farewell

    def sending(self, receive: Receive, send: Send) -> Coroutine[Any, Any, int]:
        return OpenStream(self, receive, send).run()


class OpenStream:
    """A stream that is being sent.

    Live, or its own way: then one task sends, and another one watches for the disconnect.
    """

    __slots__ = (
        *("slot", "channel", "opened_at", "sending_since", "next_keepalive", "outcome"),
        *("_receive", "_send", "_source", "_reader", "_direct", "_task", "_keepalive", "_headers", "_lead"),
        *("_is_over", "_encode_farewell", "_farewell", "_sends"),
    )

    def __init__(self, response: EventStream, receive: Receive, send: Send) -> None:
        # The response itself is not kept: middleware's headers are most of what a stream would hold.
        self.slot = response.slot
        self.channel = response.channel
        self._receive = receive
        self._send = send
        self._source = response.source
        self._reader = response.source if isinstance(response.source, ChannelReader) else None
        self._direct = direct_transport(send) if self._reader is not None else None
        self._task: asyncio.Task[None] | None = None
        self._keepalive: asyncio.Task[None] | None = None
        self._headers: list[tuple[bytes, bytes]] | None = raw_headers(response)
        # A field of the first event: a block of its own would have no data, and several clients take it for an event.
        self._lead = _RETRY + response.greeting
        self._encode_farewell = response.farewell
        self._is_over = False
        self._farewell: bytes | None = None
        self.opened_at = time.monotonic()
        self.sending_since: float | None = None
        self._sends = 0
        self.next_keepalive = self.opened_at + KEEPALIVE_S
        self.outcome = "closed_by_client"

    async def run(self) -> int:
        """Returns the status."""
        registry.add(self)
        try:
            if self._direct is not None and self._direct.has_room:
                await self._guarded(self._begin_live)
            while not self._is_over:
                if self._reader is None or not self._reader.is_live:
                    await self._go_own_way()
                elif (await self._receive())["type"] == "http.disconnect":
                    self._is_over = True
        finally:
            if self._reader is not None:
                self._reader.leave()
            if self._keepalive is not None:
                await cancel_all(self._keepalive)
            registry.remove(self)
        return 200

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except ClientGone:
            self._is_over = True
        except Exception:
            # The boundary of a stream, as a view is that of a request: its client reconnects, the log has the cause.
            self._is_over, self.outcome = True, "error"
            log.exception("the stream of %s failed", self.channel)

    async def _begin_live(self) -> None:
        """Without a wait: there is room. A stream that has missed something does not become live by that."""
        await self._begin()
        if self._reader is not None and self._direct is not None:
            self._reader.go_live(self._direct)

    async def _go_own_way(self) -> None:
        """Until the client goes, or the stream has become live, or it has ended."""
        self._task = asyncio.create_task(self._guarded(self._send_until_ended))
        watch = asyncio.create_task(self._until_disconnect())
        try:
            await asyncio.wait({self._task, watch}, return_when=asyncio.FIRST_COMPLETED)
            self._is_over |= watch.done() or self._task.cancelled()
        finally:
            await cancel_all(self._task, watch)
            self._task = None

    async def _until_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _send_until_ended(self) -> None:
        try:
            if self._farewell is None:
                await self._send_all()
                return
        except asyncio.CancelledError:
            if self._farewell is None:
                raise
        await self._finish(self._farewell)

    async def _send_all(self) -> None:
        await self._begin()
        async with aclosing(self._pieces()) as pieces:
            async for body in pieces:
                await self.send(self._lead + body)
                self._lead = b""
        if self._reader is None or not self._reader.is_live:
            self.outcome = "completed"
            await self._finish(b"")

    def _pieces(self) -> AsyncGenerator[bytes, None]:
        return self._source.pieces(self._direct) if isinstance(self._source, ChannelReader) else self._source

    async def _begin(self) -> None:
        """A second time it does nothing."""
        if self._headers is None:
            return
        headers, self._headers = self._headers, None
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        if self._lead != _RETRY:
            lead, self._lead = self._lead, b""
            await self.send(lead)

    async def _finish(self, body: bytes) -> None:
        await self.send(body, more=False)
        self._is_over = True

    async def send(self, body: bytes, *, more: bool = True) -> None:
        """Returns when the server's buffer has room again; a client that reads nothing blocks here."""
        self._sends += 1
        if self.sending_since is None:
            self.sending_since = registry.now
        try:
            await self._send({"type": "http.response.body", "body": body, "more_body": more})
        except (RuntimeError, OSError) as error:
            # uvicorn reports a closed connection in `receive`, unless another request is waiting on it.
            raise ClientGone from error
        finally:
            self._sends -= 1  # a keepalive and an event may both be waiting
            if not self._sends:
                self.sending_since = None

    def end(self, reason: Farewell, reconnect_in_ms: int) -> None:
        """Say goodbye and close, from the registry."""
        if not self._is_over:
            self.outcome = reason
            self._farewell = self._encode_farewell(reason, reconnect_in_ms)
            self._interrupt()

    def _interrupt(self) -> None:
        """Both: a task that has ended may just have made the stream live."""
        if self._task is not None:
            self._task.cancel()
        if self._reader is not None:
            self._reader.go_on_alone()

    def revoke(self) -> None:
        """Its caller may not see it any more. One that takes nothing now is not waited for."""
        if self.sending_since is not None:
            self.drop("revoked")
        else:
            self.end("revoked", spread_ms())

    def keep_alive(self) -> None:
        """Send the comment, beside whatever the stream is waiting for."""
        if self._direct is not None and self._reader is not None and self._reader.is_live and self._direct.has_room:
            if not self._direct.is_open or not self._direct.write(_KEEPALIVE_CHUNK):
                self.drop("closed_by_client")
            return
        self._keepalive = asyncio.create_task(self.send(KEEPALIVE))
        self._keepalive.add_done_callback(self._after_keepalive)

    def _after_keepalive(self, keepalive: asyncio.Task[None]) -> None:
        if not keepalive.cancelled() and keepalive.exception() is not None:
            self.drop("closed_by_client")

    def drop(self, outcome: str) -> None:
        """Nothing that could be said would arrive."""
        self.outcome = outcome
        self._is_over, self._farewell = True, None
        self._interrupt()
