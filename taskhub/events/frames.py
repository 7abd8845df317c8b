"""Bytes on the wire: Server-Sent Events as the WHATWG specification has them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from taskhub.events.publish import envelope
from taskhub.events.types import EventData, to_json

KEEPALIVE: Final = b": keepalive\n\n"
PIECE_BYTES: Final = 32 * 1024
"""What is handed to the server at a time: a stalled client holds no more than a few of these."""
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_CONTROL: Final = re.compile(r"[\r\n\0]")


class Frame(NamedTuple):
    """One event of a channel, encoded once for all streams of the process; the rest is what filters look at."""

    seq: int
    body: bytes
    name: str
    task_id: str
    assignees: tuple[str, ...]


class Filters(NamedTuple):
    """What a stream wants to see; an empty part lets everything pass."""

    types: frozenset[str] = frozenset()
    task_id: str = ""
    assignee: str = ""

    def wants(self, frame: Frame) -> bool:
        if self.types and frame.name not in self.types:
            return False
        if self.task_id and frame.task_id != self.task_id:
            return False
        return not self.assignee or self.assignee in frame.assignees


def encode(data: str, *, event_id: str = "", event: str = "") -> bytes:
    """An SSE frame. `data` may hold line ends of any kind; the other fields lose theirs."""
    lines = []
    if event:
        lines.append(f"event: {_CONTROL.sub('', event)}")
    if event_id:
        lines.append(f"id: {_CONTROL.sub('', event_id)}")
    lines.extend(f"data: {line}" for line in _LINE_END.split(data))
    return ("\n".join(lines) + "\n\n").encode("utf-8", errors="replace")


def encode_json(data: Any, *, event_id: str = "", event: str = "") -> bytes:
    return encode(json.dumps(data, ensure_ascii=False, separators=(",", ":")), event_id=event_id, event=event)


def encode_event(data: EventData, *, event_id: str = "") -> bytes:
    """A `message` whose data is spec 003's envelope: what `onmessage` sees."""
    return encode_json(envelope(data.name, to_json(data)), event_id=event_id)


def read_frame(channel: str, seq: int, event_type: str, data: str) -> Frame:
    """The frame of an event of a channel, whoever published it: an envelope of ours, or anything `send_event` took."""
    body = encode(data, event_id=f"{channel}:{seq}", event="" if event_type == "message" else event_type)
    try:
        content = json.loads(data)
    except ValueError:
        content = None
    about = content.get("data") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(about, dict):
        return Frame(seq, body, event_type, "", ())
    previous = about.get("previous")
    assignees = [about.get("assignee"), previous.get("assignee") if isinstance(previous, dict) else None]
    return Frame(
        seq,
        body,
        str(content.get("event", event_type)),
        str(about.get("task_id", "")),
        tuple(name for name in assignees if isinstance(name, str)),
    )


def join_wanted(frames: Iterable[Frame], filters: Filters) -> Iterator[bytes]:
    """The bodies of the frames that `filters` want, joined into pieces of about `PIECE_BYTES`."""
    everything = filters == Filters()
    piece: list[bytes] = []
    size = 0
    for frame in frames:
        if everything or filters.wants(frame):
            piece.append(frame.body)
            size += len(frame.body)
            if size >= PIECE_BYTES:
                yield b"".join(piece)
                piece, size = [], 0
    if piece:
        yield b"".join(piece)
