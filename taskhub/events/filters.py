"""Stream filters: which events a stream asked for, and which ones its caller may see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from taskhub.events.frames import Frame

PIECE_BYTES: Final = 32 * 1024
"""What is handed to the server at a time: a stalled client holds no more than a few of these."""


class Filters(NamedTuple):
    """What a stream wants to see (an empty part lets everything pass), and what it may.

    `viewer`: None sees every task; a name sees the public ones and what is assigned to it, "" the public ones. That is
    decided by how the task is now, not by how it was when the event came: `owners` holds the assignees of those that
    are private, so a replay tells no more than a look at the task would.
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
        """What this stream gets of the frame: all of it, word that its task is gone, or nothing."""
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
            return True  # to everybody, whatever task they watch: it belongs to what `connected` told them
        if self.task_id and frame.task_id != self.task_id:
            return False
        return not self.assignee or self.assignee in frame.assignees


Piece = tuple[int, bytes]
"""So many events, and their frames as one."""


def join_wanted(frames: Iterable[Frame], filters: Filters, owners: Mapping[str, str]) -> Iterator[Piece]:
    """What `filters` let through of the frames, joined into pieces of about `PIECE_BYTES`."""
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
