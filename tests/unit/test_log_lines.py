"""Numbered lines of a log: the same for the same log, in whatever pieces it came."""

from __future__ import annotations

import itertools
import json
from typing import Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sandboxes import log_follower
from sandboxes.errors import SandboxMissing
from sandboxes.gateway.translation import refusal
from sandboxes.log_follower import SPLIT_MARK, LineCounter, unmarked

Piece = tuple[Literal["stdout", "stderr"], str]
MARKS = {"stdout": "\x01\x01\x01", "stderr": "\x02\x02\x02"}
LIMIT = 7

streams = st.sampled_from(["stdout", "stderr"])
texts = st.text(st.sampled_from("ab\n\r\x1b\x01é€😀\x85\u2028"), max_size=30)
logs_in_pieces = st.lists(st.tuples(streams, texts), max_size=12)


@pytest.fixture(autouse=True, scope="module")
def short_lines():
    """Splitting is the same at any length."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_follower, "LINE_BYTES", LIMIT)
        yield


def json_bytes(text: str) -> int:
    escaped = json.dumps(text, ensure_ascii=False)[1:-1]
    for separator in "\x85\u2028\u2029":
        escaped = escaped.replace(separator, "\\u2028")
    return len(escaped.encode())


def numbered(pieces: list[Piece]) -> list[tuple[int, str, str]]:
    counter = LineCounter()
    lines = [line for piece in pieces for line in counter.feed([piece])]
    return [(line.n, line.stream, line.line) for line in [*lines, *counter.finish()]]


@given(logs_in_pieces, st.data())
def test_any_cutting_of_a_log_gives_the_same_numbered_lines(pieces: list[Piece], data: st.DataObject) -> None:
    cut: list[Piece] = []
    for stream, text in pieces:
        places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
        cut += [(stream, text[start:end]) for start, end in itertools.pairwise([0, *places, len(text)])]
    assert numbered(cut) == numbered(pieces)
    counter = LineCounter()
    together = [*counter.feed(cut), *counter.finish()]
    assert [(line.n, line.stream, line.line) for line in together] == numbered(pieces)


@given(logs_in_pieces)
def test_lines_hold_all_that_was_written_and_nothing_else(pieces: list[Piece]) -> None:
    lines = numbered(pieces)
    assert [n for n, _, _ in lines] == list(range(1, len(lines) + 1))
    for stream in ("stdout", "stderr"):
        written = "".join(text for each, text in pieces if each == stream)
        parts = [line for _, each, line in lines if each == stream]
        assert all(json_bytes(part.removesuffix(SPLIT_MARK)) <= LIMIT for part in parts)
        told = "".join(part.removesuffix(SPLIT_MARK) if part.endswith(SPLIT_MARK) else f"{part}\n" for part in parts)
        assert told in {written, f"{written}\n"}


@pytest.mark.parametrize(("length", "parts"), [(0, 1), (LIMIT - 1, 1), (LIMIT, 1), (LIMIT + 1, 2), (3 * LIMIT, 3)])
def test_a_line_is_split_only_where_it_is_too_long(length: int, parts: int) -> None:
    assert len(numbered([("stdout", "x" * length + "\n")])) == parts
    assert len(numbered([("stdout", "x")] * length + [("stdout", "\n")])) == parts


@given(
    st.lists(st.tuples(streams, texts.filter(lambda text: not text.startswith("\x01") and "\x01\x01\x01" not in text)))
)
def test_a_snapshots_marks_give_back_its_pieces(pieces: list[Piece]) -> None:
    # Text of a log that equals a mark cannot be distinguished from one.
    assume(not any(text.endswith("\x01") for _, text in pieces))
    output = "".join(MARKS[stream] + text for stream, text in pieces)
    assert list(unmarked(output)) == [(stream, text) for stream, text in pieces if text]


def test_what_comes_before_the_first_mark_is_nobodys() -> None:
    assert list(unmarked("lost\x01\x01\x01out\n\x02\x02\x02err\n")) == [("stdout", "out\n"), ("stderr", "err\n")]
    assert list(unmarked("lost")) == []


def test_a_long_piece_comes_in_shares_so_that_others_have_their_turn() -> None:
    text = "".join(f"line {n}\n" for n in range(100_000))
    shares = list(unmarked(f"\x01\x01\x01{text}"))
    assert {stream for stream, _ in shares} == {"stdout"}
    assert "".join(share for _, share in shares) == text
    assert max(len(share) for _, share in shares) <= 128 * 1024


@pytest.mark.parametrize(
    ("status", "code"), [(404, "thing_not_found"), (410, "thing_not_found"), (409, "thing_conflict")]
)
def test_what_a_status_means(status: int, code: str) -> None:
    assert refusal("thing", status, {}).code == code
    assert isinstance(refusal("thing", 404, {}), SandboxMissing)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        *((401, "sandbox_key_refused"), (403, "sandbox_forbidden"), (400, "sandbox_refused"), (422, "sandbox_refused")),
        *((429, "sandbox_throttled"), (500, "sandbox_unavailable"), (None, "sandbox_unavailable")),
    ],
)
def test_what_a_refusal_means(status: int | None, code: str) -> None:
    assert refusal("thing", status, {}).code == code
