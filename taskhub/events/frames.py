"""Bytes on the wire: Server-Sent Events as the WHATWG specification has them."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple

from django.utils import timezone
from pydantic import ValidationError

from taskhub.events.publish import envelope
from taskhub.events.types import Announced, EventData, TaskDeleted, to_json
from taskhub.lib.timestamps import iso

KEEPALIVE: Final = b": keepalive\n\n"
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_CONTROL: Final = re.compile(r"[\r\n\0]")
_ID_LINE: Final = re.compile(rb"^id: .*\n", re.MULTILINE)


class Frame(NamedTuple):
    """One event of a channel, encoded once for all streams of the process; the rest is what filters look at."""

    seq: int
    body: bytes
    name: str
    task_id: str
    assignees: tuple[str, ...]
    private: bool | None = None
    """Whether its task is private from here on; None where the event does not say."""
    loss: Loss | None = None
    announced: Announced | None = None


class Loss(NamedTuple):
    """What those are told instead who saw the task before this event and do not from here on: that it is gone."""

    was_private: bool
    was_assignee: str
    frame: Frame


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


def encode_named(event: str, data: dict[str, Any], *, event_id: str = "") -> bytes:
    """A named event of the hub's own, stamped with the time: what the log streams and `/sse` are made of."""
    return encode_json({**data, "timestamp": iso(timezone.now())}, event_id=event_id, event=event)


def encode_named_farewell(reason: str, reconnect_in_ms: int) -> bytes:
    """The last words of a stream of named events when the server ends it."""
    return encode_named("disconnected", {"reason": reason, "reconnect_in_ms": reconnect_in_ms})


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
    private = about.get("private")
    return Frame(
        seq,
        body,
        str(content.get("event", event_type)),
        str(about.get("task_id", "")),
        tuple(name for name in assignees if isinstance(name, str)),
        private if isinstance(private, bool) else None,
        _loss(channel, seq, content) if private is True and isinstance(previous, dict) else None,
        _announced(about) if content.get("event") == Announced.name else None,
    )


def repeated(frame: Frame) -> Frame:
    """The same event for a stream that had it already: without an id, so that its client's place does not go back."""
    loss = frame.loss
    if loss is not None:
        loss = loss._replace(frame=repeated(loss.frame))
    return frame._replace(body=_ID_LINE.sub(b"", frame.body, count=1), loss=loss)


def read_text(frame: Frame) -> str:
    """The data of a frame: the text that was encoded."""
    lines = frame.body.decode().split("\n")
    return "\n".join(line.removeprefix("data: ") for line in lines if line.startswith("data: "))


def _announced(about: dict[str, Any]) -> Announced | None:
    try:
        return Announced.model_validate(about)
    except ValidationError:
        return None  # a foreign event of the same name


def _loss(channel: str, seq: int, content: dict[str, Any]) -> Loss | None:
    """Where an update has made a task private, or reassigned a private one."""
    about = content["data"]
    previous = about["previous"]
    was_private = bool(previous.get("private", True))
    was_assignee = str(previous.get("assignee", about.get("assignee", "")))
    if was_private and "assignee" not in previous:
        return None
    # Nothing that is new: who it belongs to now is not theirs to know.
    data = {"task_id": about.get("task_id", ""), "assignee": was_assignee, "private": was_private}
    told = {**content, "event": TaskDeleted.name, "data": data}
    body = encode_json(told, event_id=f"{channel}:{seq}")
    return Loss(was_private, was_assignee, Frame(seq, body, TaskDeleted.name, str(data["task_id"]), (was_assignee,)))
