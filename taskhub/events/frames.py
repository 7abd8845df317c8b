"""Bytes on the wire: Server-Sent Events as the WHATWG specification has them."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from django.utils import timezone
from pydantic import ValidationError

from taskhub.events.publish import envelope
from taskhub.events.types import EVENT_TYPES, Announced, EventData, TaskDeleted, to_json
from taskhub.events.wire_json import FRAME_LIMIT, dumps, escape_separators, leave_out
from taskhub.lib.timestamps import iso

log = logging.getLogger(__name__)

# One line end: a blank line would end a block without data, which several clients take for an empty event.
KEEPALIVE: Final = b": keepalive\n"
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
# NUL, and whatever a reader may take for the end of a line.
_CONTROL: Final = re.compile("[\r\n\0\v\f\x1c-\x1e\x85\u2028\u2029]")
_LARGE_LOGGED_MOST: Final = 100
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
    gain: Frame | None = None
    """Where it makes its task public: the same for those who could not see the task before, without its past."""
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
    """JSON as an SSE frame of any size."""
    return encode(dumps(data), event_id=event_id, event=event)


def encode_within_limit(data: dict[str, Any], *, event_id: str = "", event: str = "") -> bytes:
    """A frame of at most `FRAME_LIMIT` bytes: larger fields are left out, and `omitted` names them."""
    body = encode_json(data, event_id=event_id, event=event)
    excess = len(body) - FRAME_LIMIT
    return body if excess <= 0 else encode_json(leave_out(data, excess), event_id=event_id, event=event)


def encode_named(event: str, data: dict[str, Any], *, event_id: str = "") -> bytes:
    """A named event of the hub's own with a timestamp, as in the log streams and `/sse`; within the limit."""
    return encode_within_limit({**data, "timestamp": iso(timezone.now())}, event_id=event_id, event=event)


def encode_named_farewell(reason: str, reconnect_in_ms: int, *, about: Mapping[str, str] | None = None) -> bytes:
    """The last words of a stream of named events when the server ends it; `about` names what was streamed."""
    return encode_named("disconnected", {**(about or {}), "reason": reason, "reconnect_in_ms": reconnect_in_ms})


def encode_event(data: EventData, *, event_id: str = "") -> bytes:
    """A `message` with spec 003's envelope as its data, within the limit."""
    return _encode_envelope(envelope(data.name, to_json(data)), event_id=event_id)


def _encode_envelope(content: dict[str, Any], *, event_id: str, event: str = "") -> bytes:
    body = encode_json(content, event_id=event_id, event=event)
    excess = len(body) - FRAME_LIMIT
    if excess <= 0:
        return body
    data = leave_out(content["data"], excess)
    return encode_json({**content, "data": data}, event_id=event_id, event=event)


def read_frame(channel: str, seq: int, event_type: str, data: str, *, whole: bool = False) -> Frame:
    """The frame of an event of a channel: an envelope of ours, or anything that `send_event` took.

    An envelope of ours above the limit is told without its largest fields, unless the caller wants the `whole`.
    """
    event_id = f"{channel}:{seq}"
    event = "" if event_type == "message" else event_type
    try:
        content = json.loads(data)
    except ValueError:
        content = None
    else:
        data = escape_separators(data)
    body = encode(data, event_id=event_id, event=event)
    about = content.get("data") if isinstance(content, dict) else None
    is_envelope = isinstance(content, dict) and isinstance(about, dict)
    if len(body) > FRAME_LIMIT and not whole:
        if is_envelope and content.get("event") in EVENT_TYPES:
            body = _encode_envelope(content, event_id=event_id, event=event)
        else:
            log_large(channel, event_type, len(body))
    if not is_envelope:
        return Frame(seq, body, event_type, "", ())
    return _read_envelope(channel, seq, event_type, content, body, whole=whole)


def read_envelopes(piece: bytes) -> Iterator[dict[str, Any]]:
    """The envelopes in a piece of a feed; each is one line."""
    for line in piece.split(b"\n"):
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))


def _read_envelope(
    channel: str, seq: int, event_type: str, content: dict[str, Any], body: bytes, *, whole: bool
) -> Frame:
    about = content["data"]
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
        _gain(channel, seq, content, whole=whole) if private is False and isinstance(previous, dict) else None,
        _announced(about) if content.get("event") == Announced.name else None,
    )


_large_logged: Final[set[tuple[str, str]]] = set()


def log_large(channel: str, event_type: str, size: int) -> None:
    """Warn of a foreign event above the limit: once per channel and type, since each page of a replay has it again."""
    about = (channel, event_type)
    if about in _large_logged or len(_large_logged) >= _LARGE_LOGGED_MOST:
        return
    _large_logged.add(about)
    message = "an event %r on channel %r has %d bytes; some clients refuse more than %d"
    log.warning(message, event_type, channel, size, FRAME_LIMIT)


def repeated(frame: Frame) -> Frame:
    """The same event for a stream that had it already: without an id, so that its client's place does not go back."""
    loss, gain = frame.loss, frame.gain
    if loss is not None:
        loss = loss._replace(frame=repeated(loss.frame))
    if gain is not None:
        gain = repeated(gain)
    return frame._replace(body=_ID_LINE.sub(b"", frame.body, count=1), loss=loss, gain=gain)


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


MADE_PUBLIC: Final = {"changed": ["private"], "previous": {"private": True}}
"""What is said of the change that makes a task public to those who could not see the task before."""


def _gain(channel: str, seq: int, content: dict[str, Any], *, whole: bool) -> Frame | None:
    """Where an update has made a task public: its new state, and nothing of what it was before."""
    about = content["data"]
    if about["previous"].get("private") is not True:
        return None
    told = {**content, "data": {**about, **MADE_PUBLIC}}
    event_id = f"{channel}:{seq}"
    body = encode_json(told, event_id=event_id) if whole else _encode_envelope(told, event_id=event_id)
    assignee = about.get("assignee")
    assignees = (assignee,) if isinstance(assignee, str) else ()
    return Frame(seq, body, str(content.get("event", "")), str(about.get("task_id", "")), assignees, False)
