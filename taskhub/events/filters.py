"""Stream filters: which events a stream asked for, and which ones its caller may see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from taskhub.events.frames import Frame
from taskhub.events.visibility import Privacy

PIECE_BYTES: Final = 32 * 1024
"""Bytes handed to the server at a time: a stalled client holds no more than a few of these."""


class Filters(NamedTuple):
    """The events that a stream requested (an empty filter selects everything), and those that it may see.

    `viewer`: None sees every task; a name sees the public ones and those assigned to it, "" the public ones. Both the
    current state of the task decides, so a replay reveals no more than reading the task would, and its state at the
    time of the event: what was published while the task was private is for those who could read it then.
    """

    types: frozenset[str] = frozenset()
    task_id: str = ""
    assignee: str = ""
    viewer: str | None = None

    @property
    def wants_everything(self) -> bool:
        return not (self.types or self.task_id or self.assignee)

    def may_see(self, task_id: str, privacy: Privacy) -> bool:
        """Whether this viewer may see the task now."""
        if self.viewer is None or task_id not in privacy.owners:
            return True
        return bool(self.viewer) and privacy.owners[task_id] == self.viewer

    def may_follow(self, task_id: str, privacy: Privacy, *, since: int) -> bool:
        """Likewise, and whether it could at each moment after the event of this number."""
        if not self.may_see(task_id, privacy):
            return False
        spans = privacy.spans.get(task_id, ()) if self.viewer is not None else ()
        own = [span for span in spans if self.viewer and span.account == self.viewer]
        unseen = [span for span in spans if span.until is None or span.until > since]
        return all(any(mine.covers(span, since) for mine in own) for span in unseen)

    def could_read(self, frame: Frame, privacy: Privacy) -> bool:
        """Whether the event is from a time at which this viewer could see the task."""
        if self.viewer is None or frame.task_id not in privacy.spans:
            return True
        then = [span.account for span in privacy.spans[frame.task_id] if span.holds(frame.seq)]
        return not then or (bool(self.viewer) and self.viewer in then)

    def sees(self, frame: Frame, privacy: Privacy) -> bool:
        return self.may_see(frame.task_id, privacy) and self.could_read(frame, privacy)

    def pick(self, frame: Frame, privacy: Privacy) -> bytes:
        """The part of the frame for this stream: all of it, what is told instead, or nothing."""
        shown = self.show(frame, privacy)
        return b"" if shown is None else shown.body

    def show(self, frame: Frame, privacy: Privacy) -> Frame | None:
        """Likewise, as a frame."""
        shown: Frame | None = frame if self.sees(frame, privacy) else self._instead(frame, privacy)
        return shown if shown is not None and self.wants(shown) else None

    def _instead(self, frame: Frame, privacy: Privacy) -> Frame | None:
        """Where the event hides the task from this viewer, or shows it: a `task_deleted`, or the new state."""
        loss = frame.loss
        if loss is not None and not (loss.was_private and loss.was_assignee != self.viewer):
            return loss.frame
        return frame.gain if self.may_see(frame.task_id, privacy) else None

    def wants(self, frame: Frame) -> bool:
        if self.types and frame.name not in self.types:
            return False
        if frame.announced is not None:
            return True  # for all streams, independent of filters: it updates the list in `connected`
        if self.task_id and frame.task_id != self.task_id:
            return False
        return not self.assignee or self.assignee in frame.assignees


class Piece(NamedTuple):
    """Number of events, their frames as one, and the number of the last one."""

    events: int
    body: bytes
    last: int


def join_wanted(frames: Iterable[Frame], filters: Filters, privacy: Privacy) -> Iterator[Piece]:
    """The frames that pass `filters`, joined into pieces of about `PIECE_BYTES`."""
    everything = filters == Filters()
    piece: list[bytes] = []
    size = last = 0
    for frame in frames:
        body = frame.body if everything else filters.pick(frame, privacy)
        if body:
            piece.append(body)
            size += len(body)
            last = frame.seq
            if size >= PIECE_BYTES:
                yield Piece(len(piece), b"".join(piece), last)
                piece, size = [], 0
    if piece:
        yield Piece(len(piece), b"".join(piece), last)
