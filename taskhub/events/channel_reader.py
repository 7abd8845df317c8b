"""Reader of a channel for a stream: by itself while it is behind, in a group while it is live."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial

from taskhub.events.feed import Feed, Reader
from taskhub.events.filters import Filters
from taskhub.web.direct_transport import DirectTransport


class ChannelReader(Reader):
    """Everything after `cursor` that `filters` select and allow, and what `repeats` names once more.

    `pieces` yields it. Where the stream has a transport, they end when the reader goes live; from then on events are
    written without the stream's doing, until `is_live` is False and `pieces` has to be read again.
    """

    __slots__ = ("_feed", "direct", "filters", "is_live", "repeats")
    direct: DirectTransport
    """Only of a reader that may go live."""

    def __init__(self, feed: Feed, cursor: int, filters: Filters, repeats: list[int]) -> None:
        super().__init__(cursor)
        self._feed = feed
        self.filters = filters
        self.repeats = repeats
        self.is_live = False

    def pieces(self, direct: DirectTransport | None = None) -> AsyncGenerator[bytes, None]:
        """What the stream has to send by itself; with `direct`, until it is live."""
        if direct is None:
            return self._feed.read(self, self.filters, self.repeats)
        return self._feed.read(self, self.filters, self.repeats, goes_live=partial(self.go_live, direct))

    def go_live(self, direct: DirectTransport) -> bool:
        """Join the live streams, if nothing is left to read and the transport has room. Returns `is_live`."""
        if self.cursor != self._feed.head or self.repeats or not direct.has_room:
            return False
        self.direct = direct
        self.was_live = self.is_live = True
        self._feed.live.join(self)
        return True

    def go_on_alone(self) -> None:
        """Leave the live streams and wake the stream; a second time it does nothing."""
        if self.is_live:
            self.leave()
            self.direct.wake()

    def leave(self) -> None:
        """Leave the live streams; a second time it does nothing."""
        if self.is_live:
            self.is_live = False
            self._feed.live.leave(self)
