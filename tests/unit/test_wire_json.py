"""JSON on the wire: one line for every reader, frames within 96 KiB, log lines within 64 KiB."""

from __future__ import annotations

import itertools
import json
import logging
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskhub.events import frames
from taskhub.events.ephemeral import LiveChannel
from taskhub.events.filters import Filters
from taskhub.events.frames import encode_event, encode_json, encode_named, encode_within_limit, read_frame
from taskhub.events.publish import announce
from taskhub.events.types import Announced, Connected
from taskhub.events.wire_json import FRAME_LIMIT, dumps, escape_if_json, leave_out, size_of, split_text
from taskhub.models import AnnouncementLevel
from tests.streaming import Frame, parse

LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
"""What `str.splitlines`, and with it httpx and requests, takes for the end of a line."""
WIDE = "字"
TASK = {"task_id": str(uuid.uuid4()), "status": "todo", "title": "t", "tags": [], "artifacts": [], "assignee": "alice"}

texts = st.text(st.sampled_from('ab"\\' + LINE_ENDS + "é€😀\0\x1b"))
values = st.recursive(texts, lambda inner: st.dictionaries(texts, inner) | st.lists(inner), max_leaves=8)


def sse(body: bytes) -> Frame:
    (frame,) = parse(iter(body.decode().splitlines()))
    return frame


def envelope(data: dict[str, Any], event: str = "task_created") -> str:
    content = {"id": str(uuid.uuid4()), "event": event, "data": data, "timestamp": "2025-06-22T10:00:00Z"}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


@given(value=values)
def test_every_frame_is_one_line_of_data_for_readers_that_split_at_any_line_end(value: Any) -> None:
    assert sse(encode_json({"value": value}, event_id="tasks:1", event="log")).json() == {"value": value}
    assert sse(encode_named("log", {"value": value})).json()["value"] == value
    raw = json.dumps({"value": value}, ensure_ascii=False)
    assert sse(read_frame("tasks", 1, "message", raw).body).json() == {"value": value}


@given(text=texts)
def test_names_and_ids_lose_every_line_end(text: str) -> None:
    body = encode_json({}, event_id=text, event=text).decode()
    assert body.splitlines() == body.split("\n")[:-1]


def test_a_foreign_text_that_is_no_json_stays_as_it_is() -> None:
    assert escape_if_json("a\u2028b") == "a\u2028b"
    assert escape_if_json('"a\u2028b"') == '"a\\u2028b"'
    assert "a\u2028b" in read_frame("tasks", 1, "message", "a\u2028b").body.decode()
    channel = LiveChannel(lambda: None)
    channel.take("greeting", '{"a":"\u0085"}')
    assert channel.after(0)[0].body == b'event: greeting\ndata: {"a":"\\u0085"}\n\n'


@pytest.mark.parametrize("fitting", [True, False])
def test_a_description_is_left_out_of_a_frame_above_96_kib_alone(fitting: bool) -> None:
    room = FRAME_LIMIT - len(read_frame("tasks", 7, "message", envelope({**TASK, "description": ""})).body)
    text = WIDE * (room // 3) + "x" * (room % 3)  # to the byte
    raw = envelope({**TASK, "description": text if fitting else text + "x"})
    body = read_frame("tasks", 7, "message", raw).body
    data = sse(body).json()["data"]
    if fitting:
        assert len(body) == FRAME_LIMIT
        assert data["description"] == text
    else:
        assert len(body) < 1024
        assert data == {**TASK, "omitted": ["description"]}
    assert body.startswith(b"id: tasks:7\n")


def test_artifacts_are_left_out_if_that_is_not_enough() -> None:
    data = {**TASK, "description": WIDE * 1000, "artifacts": [WIDE * 1000] * 100}
    frame = read_frame("tasks", 1, "message", envelope(data))
    assert len(frame.body) <= FRAME_LIMIT
    assert sse(frame.body).json()["data"]["omitted"] == ["description", "artifacts"]
    assert (frame.name, frame.task_id, frame.assignees) == ("task_created", TASK["task_id"], ("alice",))
    assert Filters(assignee="alice").wants(frame)
    assert sse(read_frame("tasks", 1, "message", envelope(data), whole=True).body).json()["data"] == data


def test_of_changed_files_the_last_are_counted_instead_of_named() -> None:
    files = [{"change": "created", "path": f"{n}/" + WIDE * 1000, "size": n} for n in range(100)]
    data = {"task_id": TASK["task_id"], "files": files, "left_out": 5}
    body = read_frame("tasks", 1, "message", envelope(data, "file_changed")).body
    assert len(body) <= FRAME_LIMIT
    told = sse(body).json()["data"]
    assert 20 < len(told["files"]) < 100
    assert told["files"] == files[: len(told["files"])]
    assert told["left_out"] == 5 + 100 - len(told["files"])
    assert "omitted" not in told


def test_connected_has_the_newest_announcements_that_fit() -> None:
    def announced(n: int) -> Announced:
        return Announced(
            announcement_id=uuid.UUID(int=n),
            level=AnnouncementLevel.INFO,
            text=WIDE * 1000,
            made_by="operator",
            created_at="2025-06-22T10:00:00Z",
            withdrawn=False,
        )

    body = encode_event(Connected(last_event_id="tasks:1", announcements=[announced(n) for n in range(200)]))
    assert len(body) <= FRAME_LIMIT
    data = sse(body).json()["data"]
    assert len(data["announcements"]) > 20
    assert [said["announcement_id"] for said in data["announcements"]] == [
        str(uuid.UUID(int=n)) for n in range(len(data["announcements"]))
    ]
    assert data["omitted"] == ["announcements"]


def test_of_a_sandbox_the_largest_fields_are_left_out() -> None:
    sandbox = {"id": "s", "labels": {"a": "x" * 60_000}, "note": "y" * 50_000, "state": "started", "sandboxId": "s"}
    body = encode_within_limit(sandbox, event="sandbox-status")
    assert len(body) <= FRAME_LIMIT
    assert sse(body).json() == {
        "id": "s",
        "note": "y" * 50_000,
        "state": "started",
        "sandboxId": "s",
        "omitted": ["labels"],
    }


def test_a_list_of_sessions_loses_its_commands_before_itself() -> None:
    def sessions(count: int) -> dict[str, Any]:
        commands = [{"id": "c", "command": WIDE * 10_000}]
        return {"sandboxId": "s", "sessions": [{"sessionId": f"s{n}", "commands": commands} for n in range(count)]}

    told = sse(encode_within_limit(sessions(10))).json()
    assert told["omitted"] == ["sessions.commands"]
    assert told["sessions"] == [{"sessionId": f"s{n}"} for n in range(10)]
    told = sse(encode_within_limit(sessions(10_000))).json()
    assert told == {"sandboxId": "s", "omitted": ["sessions.commands", "sessions"]}


@given(value=st.dictionaries(texts.filter(bool), values, max_size=5), big=st.lists(st.integers(0, 200_000), max_size=4))
def test_whatever_is_large_a_frame_is_within_the_limit(value: dict[str, Any], big: list[int]) -> None:
    data = value | {f"big{n}": "\x1b" * size for n, size in enumerate(big)}
    assert len(encode_within_limit(data, event="e")) <= FRAME_LIMIT


def test_nothing_is_left_out_that_need_not_be() -> None:
    data = {"a": "x" * 2000, "b": "y" * 1500, "c": "z" * 500}
    assert leave_out(data, 1000) == {"b": "y" * 1500, "c": "z" * 500, "omitted": ["a"]}


def test_a_large_foreign_event_goes_as_it_is_and_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "_large_logged", set())
    text = json.dumps({"event": "mine", "data": {"description": "x" * FRAME_LIMIT}})
    with caplog.at_level(logging.WARNING):
        bodies = {read_frame("tasks", n, "message", text).body.partition(b"\n")[2] for n in range(3)}
    assert bodies == {f"data: {text}\n\n".encode()}
    assert len(caplog.records) == 1
    assert "'tasks'" in caplog.text
    channel = LiveChannel(lambda: None, name="sandbox-1-status")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            channel.take("mine", text)
    assert channel.after(0)[-1].body == f"event: mine\ndata: {text}\n\n".encode()
    assert [record.getMessage().count("sandbox-1-status") for record in caplog.records] == [0, 1]


def test_what_the_hub_announces_is_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    monkeypatch.setattr("taskhub.events.publish.send_event", lambda *args, **_: sent.append(args[2]))
    announce("sandbox-1-status", "sandbox-status", {"id": "1", "labels": {"a": WIDE * 40_000}})
    channel = LiveChannel(lambda: None)
    channel.take("sandbox-status", sent[0])
    assert len(channel.after(0)[0].body) <= FRAME_LIMIT
    assert json.loads(sent[0]) == {"id": "1", "omitted": ["labels"]}


@given(text=texts, limit=st.integers(6, 40))
def test_parts_of_a_line_are_as_long_as_they_may_be(text: str, limit: int) -> None:
    parts = list(split_text(text, limit))
    assert "".join(parts) == text
    assert all(size_of(part) - 2 <= limit for part in parts)
    for part, following in itertools.pairwise(parts):
        assert following
        assert size_of(part + following[0]) - 2 > limit


def test_a_line_of_ascii_is_split_after_64_kib() -> None:
    assert [len(part) for part in split_text("x" * 131_073)] == [65_536, 65_536, 1]
    assert [len(part) for part in split_text(WIDE * 50_000)] == [21_845, 21_845, 6310]
    assert [len(part) for part in split_text("\x1b" * 20_000)] == [10_922, 9078]
    assert dumps("\u2028") == '"\\u2028"'
