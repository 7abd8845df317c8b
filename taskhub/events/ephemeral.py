"""Channels without history: only the latest value counts, and clients get it from its row on connect.

They are fed by django-eventstream's own `send_event`, through the same notifications as the kept ones. A message that
is lost is made good by the next one; a reader that is behind by more than `RING` messages skips to the newest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final, NamedTuple

from taskhub.events.frames import encode, log_large
from taskhub.events.wire_json import FRAME_LIMIT, escape_if_json
from taskhub.lib.wakeup import Wakeup

RING: Final = 32


class LiveFrame(NamedTuple):
    """A named event, encoded once for all who watch."""

    name: str
    body: bytes


class LiveChannel:
    """One such channel in this process, while it has readers."""

    def __init__(self, on_empty: Callable[[], None], name: str = "") -> None:
        self.name = name
        self.count = 0
        self.moved = Wakeup()
        self._ring: deque[LiveFrame] = deque(maxlen=RING)
        self._readers: set[LiveReader] = set()
        self._on_empty = on_empty

    def take(self, event_type: str, data: str) -> None:
        """A notification came."""
        body = encode(escape_if_json(data), event=event_type)
        if len(body) > FRAME_LIMIT:
            log_large(self.name, event_type, len(body))
        self._ring.append(LiveFrame(event_type, body))
        self.count += 1
        self.moved.send()

    def after(self, count: int) -> list[LiveFrame]:
        """What came after the first `count` messages, as far as it is still here."""
        return list(islice(self._ring, max(0, len(self._ring) - (self.count - count)), None))

    def join(self) -> LiveReader:
        """A reader of everything from now on; it must `leave`."""
        reader = LiveReader(self)
        self._readers.add(reader)
        return reader

    def leave(self, reader: LiveReader) -> None:
        """A second time it does nothing: by then another channel may have the name."""
        if reader in self._readers:
            self._readers.remove(reader)
            if not self._readers:
                self._on_empty()


class LiveReader:
    """Where a stream stands in a live channel."""

    __slots__ = ("_channel", "_count")

    def __init__(self, channel: LiveChannel) -> None:
        self._channel = channel
        self._count = channel.count

    async def next(self) -> list[LiveFrame]:
        """The messages that came since the last call, at least one."""
        while self._count == self._channel.count:
            await self._channel.moved.wait()
        frames = self._channel.after(self._count)
        self._count = self._channel.count
        return frames

    def leave(self) -> None:
        self._channel.leave(self)
