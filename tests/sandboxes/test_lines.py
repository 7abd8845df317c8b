"""Numbered lines: the same for the same log, however it came in pieces. And how long to wait, and when not to ask."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sandboxes import log_follower
from sandboxes.backoff import RETRY_AFTER_MOST_S, Backoff
from sandboxes.circuit_breaker import FAILURES, PROBE_S, Breaker
from sandboxes.errors import SandboxMissing, SandboxUnavailable
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
        patch.setattr(log_follower, "LINE_CHARS", LIMIT)
        yield


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
        assert all(len(part.removesuffix(SPLIT_MARK)) <= LIMIT for part in parts)
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


# --- How long to wait -----------------------------------------------------------------------------------


@given(st.lists(st.none() | st.floats(-10, 1e6), min_size=1, max_size=60))
def test_a_wait_grows_to_its_limit_and_is_never_less_than_daytona_asked_for(asked: list[float | None]) -> None:
    backoff = Backoff(first_s=0.5, most_s=30.0)
    for number, seconds in enumerate(asked):
        wait_s = backoff.next_s(SandboxUnavailable(seconds))
        assert 0.05 <= wait_s <= max(min(30.0, 0.5 * 2**number), min(seconds or 0, RETRY_AFTER_MOST_S))
        assert wait_s >= min(seconds or 0, RETRY_AFTER_MOST_S)
    backoff.reset()
    assert backoff.next_s() <= 0.5


@given(
    st.sampled_from(["Retry-After", "retry-after", "Retry-After-authenticated", "RETRY-AFTER-Failed-Auth"]), st.text()
)
@example("Retry-After", "nan")
@example("Retry-After", "inf")
@example("Retry-After", "-1")
@example("Retry-After", "7")
def test_whatever_stands_in_retry_after_is_a_time_or_nothing(name: str, value: str) -> None:
    error = refusal("sandbox", 429, {"x": "1", name: value})
    assert isinstance(error, SandboxUnavailable)
    assert error.retry_after_s is None or (math.isfinite(error.retry_after_s) and error.retry_after_s >= 0)
    if value == "7":
        assert error.retry_after_s == 7


# --- When not to ask at all ------------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def is_open(breaker: Breaker) -> bool:
    try:
        breaker.check()
    except SandboxUnavailable:
        return True
    return False


def test_five_failures_in_a_row_open_the_breaker_and_an_answer_in_between_does_not_let_it() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(3):
        for _ in range(FAILURES - 1):
            breaker.failed(SandboxUnavailable())
        assert not is_open(breaker)
        breaker.succeeded()
    for _ in range(FAILURES):
        breaker.failed(SandboxUnavailable())
    assert is_open(breaker)


def test_a_429_opens_the_breaker_at_once_for_as_long_as_daytona_asked() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    breaker.failed(SandboxUnavailable(40.0))
    with pytest.raises(SandboxUnavailable) as refused:
        breaker.check()
    assert refused.value.retry_after_s == pytest.approx(40.0)
    clock.now += 39.9
    assert is_open(breaker)
    clock.now += 0.2
    assert not is_open(breaker)


def test_one_probe_goes_through_and_decides() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    breaker.failed(SandboxUnavailable(10.0))
    clock.now += 10.1
    assert not is_open(breaker)
    assert is_open(breaker), "the others wait for the probe"
    breaker.failed(SandboxUnavailable())
    assert is_open(breaker), "the probe failed"
    clock.now += 61
    assert not is_open(breaker)
    breaker.succeeded()
    assert not is_open(breaker)
    assert not is_open(breaker), "it works: everybody goes through"


def test_a_probe_that_never_comes_back_is_given_up() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    breaker.failed(SandboxUnavailable(10.0))
    clock.now += 10.1
    assert not is_open(breaker)
    clock.now += PROBE_S + 0.1
    assert not is_open(breaker)


@given(st.lists(st.sampled_from(["fail", "429", "answer", "ask", "later", "much later"]), max_size=60))
def test_the_breaker_never_stays_open_for_good(steps: list[str]) -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for step in steps:
        match step:
            case "fail":
                breaker.failed(SandboxUnavailable())
            case "429":
                breaker.failed(SandboxUnavailable(20.0))
            case "answer":
                breaker.succeeded()
                assert not is_open(breaker)
            case "ask":
                is_open(breaker)
            case "later":
                clock.now += 1
            case "much later":
                clock.now += 10
    clock.now += 300 + PROBE_S
    assert not is_open(breaker)


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
        *((429, "sandbox_unavailable"), (500, "sandbox_unavailable"), (None, "sandbox_unavailable")),
    ],
)
def test_what_a_refusal_means(status: int | None, code: str) -> None:
    assert refusal("thing", status, {}).code == code
