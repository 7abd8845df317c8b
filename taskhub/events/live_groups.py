"""Delivery to live streams: each new event is selected and encoded once per group, and written to each transport.

Live streams have everything and a transport with room (`taskhub/web/direct_transport.py`). Those with the same filters
are a group. New events start a pass over all groups, in slices, between which the loop serves others; then there is a
rest, of as long as the pass took. A pass writes all that came since a stream's last event in one write; no task is
woken. A stream without room leaves its group and goes on by itself (`Feed.read`), from its cursor; when it has
everything again it comes back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextvars import Context
from typing import TYPE_CHECKING, Final, NamedTuple

from taskhub.events.filters import Filters, join_wanted
from taskhub.events.frames import Frame
from taskhub.events.visibility import Privacy
from taskhub.web.direct_transport import encode_chunk

if TYPE_CHECKING:
    from taskhub.events.channel_reader import ChannelReader
    from taskhub.events.feed import Feed

log = logging.getLogger(__name__)

SLICE: Final = 256
"""Writes between two turns of the event loop: some 2 ms."""
LEAST_REST_S: Final = 0.01
MOST_REST_S: Final = 0.1
"""Between two passes, within these limits for as long as the first one took: what comes meanwhile is one write for each
stream, and the loop has as much time for others. An event after a time without any does not wait."""
WRITE_BYTES: Final = 8 * 1024
"""A larger write counts as several."""
_DONE: Final = object()


class _Batch(NamedTuple):
    """All that follows a cursor, as far as a page of the ring goes.

    `writes`: chunk, its number of events, and the number of the last event that it is about. `last`: that of the whole
    batch, which may end with events that are not for this group. `cost`: in writes of `WRITE_BYTES`.
    """

    writes: list[tuple[bytes, int, int]]
    last: int
    cost: int


class _Batches:
    """The batches of a group in one slice, each made once. Within a slice nothing changes what they depend on."""

    def __init__(self, feed: Feed, filters: Filters) -> None:
        self._feed = feed
        self._filters = filters
        self._of_all: dict[int, _Batch | None] = {}
        self._of_viewers: dict[tuple[int, str | None], _Batch] = {}

    def after(self, cursor: int, viewer: str | None) -> _Batch | None:
        """What follows the cursor, for this viewer. None if the ring does not reach back that far."""
        if cursor in self._of_all:
            return self._of_all[cursor]
        known = self._of_viewers.get((cursor, viewer))
        if known is not None:
            return known
        frames = self._feed.recent(cursor)
        if frames is None:
            self._of_all[cursor] = None
            return None
        privacy = self._feed.privacy
        if all(privacy.is_public(frame) for frame in frames):
            batch = self._of_all[cursor] = _encode(frames, self._filters, privacy)
        else:
            filters = self._filters._replace(viewer=viewer)
            batch = self._of_viewers[cursor, viewer] = _encode(frames, filters, privacy)
        return batch


def _encode(frames: list[Frame], filters: Filters, privacy: Privacy) -> _Batch:
    writes = [(encode_chunk(body), events, last) for events, body, last in join_wanted(frames, filters, privacy)]
    size = sum(len(chunk) for chunk, _, _ in writes)
    return _Batch(writes, frames[-1].seq, 1 + size // WRITE_BYTES)


class LiveGroups:
    """The live streams of a channel in this process."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        # By what they want; whether they may see the same is decided by each batch. Members are in the order of their
        # joining: a dict, since a set would have none.
        self._groups: dict[Filters, dict[ChannelReader, None]] = {}
        self._is_delivering = False
        self._began = self._rests_until = 0.0

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def __iter__(self) -> Iterator[ChannelReader]:
        return (reader for members in self._groups.values() for reader in members)

    def join(self, reader: ChannelReader) -> None:
        """Add a stream that has everything up to the feed's head."""
        self._groups.setdefault(_wanted(reader), {})[reader] = None

    def leave(self, reader: ChannelReader) -> None:
        wanted = _wanted(reader)
        members = self._groups[wanted]
        del members[reader]
        if not members:
            del self._groups[wanted]

    def release(self, repeats: list[int]) -> None:
        """Have the stream that owns `repeats` go on by itself."""
        for reader in list(self):
            if reader.repeats is repeats:
                reader.go_on_alone()

    def moved(self) -> None:
        """The feed has new events, or has lost its place: see that a pass begins, if none is under way."""
        if self._groups and not self._is_delivering:
            self._is_delivering = True
            asyncio.get_running_loop().call_at(self._rests_until, self._begin, context=Context())

    def _begin(self) -> None:
        self._began = asyncio.get_running_loop().time()
        self._step(self._deliver())

    def _step(self, deliver: Iterator[None]) -> None:
        """The next slice of the pass."""
        loop = asyncio.get_running_loop()
        try:
            if next(deliver, _DONE) is not _DONE:
                loop.call_soon(self._step, deliver)
                return
        except Exception:
            # Each stream meets the cause by itself, and ends with it, or does not meet it.
            log.exception("the delivery of %s failed; its streams go on one by one", self._feed.channel)
            for reader in list(self):
                reader.go_on_alone()
        self._is_delivering = False
        now = loop.time()
        self._rests_until = now + min(max(LEAST_REST_S, now - self._began), MOST_REST_S)
        if any(reader.cursor < self._feed.head for reader in self):
            self.moved()

    def _deliver(self) -> Iterator[None]:
        """A pass: to each live stream what there is when its turn comes, up to a page. Yields after each slice."""
        feed, left = self._feed, SLICE
        for wanted, members in list(self._groups.items()):
            batches, head = _Batches(feed, wanted), feed.head
            for reader in list(members):
                if reader.cursor >= head or not reader.is_live:
                    continue
                batch = batches.after(reader.cursor, reader.filters.viewer)
                if batch is None or not self._write(reader, batch):
                    reader.go_on_alone()
                    continue
                left -= batch.cost
                if left <= 0:
                    yield
                    # What there is, and what may be seen of it, may have changed meanwhile.
                    batches, head, left = _Batches(feed, wanted), feed.head, SLICE

    def _write(self, reader: ChannelReader, batch: _Batch) -> bool:
        """Move the stream to the end of the batch. False where it had no room for all of it."""
        for chunk, events, last in batch.writes:
            if not reader.direct.write(chunk):
                return False
            reader.cursor = last
            self._feed.deliveries += events
        reader.cursor = batch.last
        return True


def _wanted(reader: ChannelReader) -> Filters:
    """What a group has in common."""
    return reader.filters._replace(viewer=None)
