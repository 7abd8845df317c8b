"""Stream filters: which events a stream asked for, and which ones its caller may see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from taskhub.events.frames import Frame

PIECE_BYTES: Final = 32 * 1024
"""Bytes handed to the server at a time: a stalled client holds no more than a few of these."""


class Filters(NamedTuple):
    """The events that a stream requested (an empty filter selects everything), and those that it may see.

    `viewer`: None sees every task; a name sees the public ones and those assigned to it, "" the public ones. The
    current state of the task decides, not its state at the time of the event: `owners` has the assignees of private
    tasks, so a replay reveals no more than reading the task would.
    """

    types: frozenset[str] = frozenset()
    task_id: str = ""
    assignee: str = ""
    viewer: str | None = None

    @property
    def wants_everything(self) -> bool:
        return not (self.types or self.task_id or self.assignee)

    def may_see(self, task_id: str, owners: Mapping[str, str]) -> bool:
        if self.viewer is None or task_id not in owners:
            return True
        return bool(self.viewer) and owners[task_id] == self.viewer

    def pick(self, frame: Frame, owners: Mapping[str, str]) -> bytes:
        """The part of the frame for this stream: all of it, a `task_deleted`, or nothing."""
        shown = self.show(frame, owners)
        return b"" if shown is None else shown.body

    def show(self, frame: Frame, owners: Mapping[str, str]) -> Frame | None:
        """Likewise, as a frame."""
        if not self.may_see(frame.task_id, owners):
            loss = frame.loss
            if loss is None or (loss.was_private and loss.was_assignee != self.viewer):
                return None
            frame = loss.frame
        return frame if self.wants(frame) else None

    def wants(self, frame: Frame) -> bool:
        if self.types and frame.name not in self.types:
            return False
        if frame.announced is not None:
            return True  # for all streams, independent of filters: it updates the list in `connected`
        if self.task_id and frame.task_id != self.task_id:
            return False
        return not self.assignee or self.assignee in frame.assignees


Piece = tuple[int, bytes]
"""Number of events, and their frames as one."""


def join_wanted(frames: Iterable[Frame], filters: Filters, owners: Mapping[str, str]) -> Iterator[Piece]:
    """The frames that pass `filters`, joined into pieces of about `PIECE_BYTES`."""
    everything = filters == Filters()
    piece: list[bytes] = []
    size = 0
    for frame in frames:
        body = frame.body if everything else filters.pick(frame, owners)
        if body:
            piece.append(body)
            size += len(body)
            if size >= PIECE_BYTES:
                yield len(piece), b"".join(piece)
                piece, size = [], 0
    if piece:
        yield len(piece), b"".join(piece)
