from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from taskhub.events.filters import PIECE_BYTES, Filters, join_wanted
from taskhub.events.frames import Frame, encode, encode_json, read_frame
from taskhub.events.visibility import Privacy
from tests.streaming import parse

ANY = st.text(alphabet=st.characters(exclude_categories=["Cs"]))


def sse(body: bytes):
    # A reader splits at LF alone here: httpx and browsers also split at CR, which no frame may hold raw.
    assert b"\r" not in body
    return list(parse(iter(body.decode().split("\n")[:-1])))


@given(data=st.recursive(ANY | st.integers() | st.none(), lambda inner: st.dictionaries(ANY, inner) | st.lists(inner)))
def test_json_arrives_as_one_event_whatever_its_text(data: object) -> None:
    (frame,) = sse(encode_json(data, event_id="tasks:1", event="log"))
    assert (frame.event, frame.id) == ("log", "tasks:1")
    assert frame.json() == json.loads(json.dumps(data))


@given(text=ANY, event_id=ANY, event=ANY)
def test_line_ends_in_any_field_cannot_forge_an_event(text: str, event_id: str, event: str) -> None:
    frames = sse(encode(text, event_id=event_id, event=event))
    assert len(frames) == 1
    assert frames[0].data == text.replace("\r\n", "\n").replace("\r", "\n")
    assert "\0" not in frames[0].id


def frame(seq: int = 1, name: str = "task_updated", task_id: str = "t", assignees: tuple[str, ...] = ("alice",)):
    return Frame(seq, b"x" * 100, name, task_id, assignees)


def test_filters_let_pass_what_they_name() -> None:
    assert Filters().wants(frame())
    assert Filters(types=frozenset({"task_updated"})).wants(frame())
    assert not Filters(types=frozenset({"task_deleted"})).wants(frame())
    assert not Filters(task_id="other").wants(frame())
    assert Filters(assignee="alice").wants(frame())
    assert not Filters(assignee="bob").wants(frame())


def test_a_task_taken_from_somebody_is_told_to_them_too() -> None:
    text = json.dumps(
        {"event": "task_updated", "data": {"task_id": "t", "assignee": "bob", "previous": {"assignee": "alice"}}}
    )
    read = read_frame("tasks", 7, "message", text)
    assert read.assignees == ("bob", "alice")
    assert Filters(assignee="alice").wants(read)
    assert Filters(assignee="bob").wants(read)


def test_what_others_publish_with_send_event_passes_too() -> None:
    read = read_frame("tasks", 3, "greeting", '"hello"')
    assert read.body == b'event: greeting\nid: tasks:3\ndata: "hello"\n\n'
    assert read.name == "greeting"


def test_pieces_hold_all_wanted_frames_in_order_and_stay_small() -> None:
    frames = [Frame(n, f"{n};".encode().ljust(1000), "a" if n % 2 else "b", "", ()) for n in range(100)]
    pieces = list(join_wanted(frames, Filters(types=frozenset({"a"})), Privacy()))
    assert sum(piece.events for piece in pieces) == 50
    assert b"".join(piece.body for piece in pieces) == b"".join(frame.body for frame in frames if frame.name == "a")
    assert len(pieces) > 1
    assert all(len(piece.body) < PIECE_BYTES + 1000 for piece in pieces)
    assert all(piece.body.rpartition(b";")[0].endswith(str(piece.last).encode()) for piece in pieces)
