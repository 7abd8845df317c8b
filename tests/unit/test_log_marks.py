"""The runner's marks in a log: taken out whatever pieces the log comes in, and nothing else is taken for one."""

from __future__ import annotations

import itertools
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandboxes import log_follower
from sandboxes.log_follower import LineCounter
from sandboxes.log_marks import LogMarks
from taskhub.executions.executor import LogTokens, ScriptEnd

Piece = tuple[Literal["stdout", "stderr"], str]
TOKENS = LogTokens("e" * 32, "a" * 32)
END = f"\x1b_{TOKENS.end}E7 3 2 -\x1b\\\n"
CHANGED = f"\x1b_{TOKENS.run}F3\x1b\\\n"
PARTIAL = f"\x1b_{TOKENS.run}P\x1b\\"


def reading(pieces: list[Piece]) -> tuple[LineCounter, list[tuple[int, str, str]]]:
    counter = LineCounter(LogMarks(TOKENS))
    lines = [line for piece in pieces for line in counter.feed([piece])]
    return counter, [(line.n, line.stream, line.line) for line in [*lines, *counter.finish()]]


def end_of(pieces: list[Piece]) -> ScriptEnd | None:
    counter, _ = reading(pieces)
    assert counter.marks is not None
    return counter.marks.end


def test_end_mark_on_both_streams_is_the_end() -> None:
    assert end_of([("stdout", f"a\n{END}")]) is None
    assert end_of([("stdout", f"a\n{END}"), ("stderr", END)]) == ScriptEnd(7, changes=3, files=2)
    _, lines = reading([("stdout", f"a\n{END}"), ("stderr", END), ("stdout", "late\n")])
    assert lines == [(1, "stdout", "a")]


@pytest.mark.parametrize("reason", ["killed", "interpreter"])
def test_end_mark_says_why(reason: Literal["killed", "interpreter"]) -> None:
    mark = f"\x1b_{TOKENS.end}E127 0 0 {reason}\x1b\\\n"
    assert end_of([("stdout", mark), ("stderr", mark)]) == ScriptEnd(127, reason=reason)


def test_text_without_a_newline_before_the_end_is_a_line() -> None:
    assert reading([("stdout", f"no end{END}")])[1] == [(1, "stdout", "no end")]


@pytest.mark.parametrize(
    "text",
    [
        END.replace("e", "b"),
        CHANGED.replace("a", "b"),
        PARTIAL.replace("a", "b") + "x\n",
        END.replace("\x1b\\", ""),
        f"\x1b_{TOKENS.run}E0 0 0 -\x1b\\\n",
        f"\x1b_{TOKENS.end}E0\x1b\\\n",
        f"\x1b_{TOKENS.end}E0 0 0 -\x1b\\ and more\n",
        f"words {PARTIAL}x\n",
    ],
)
def test_other_control_strings_are_the_scripts(text: str) -> None:
    counter, lines = reading([("stdout", text), ("stderr", text)])
    assert lines == [(1, "stdout", text.rstrip("\n")), (2, "stderr", text.rstrip("\n"))]
    assert counter.marks is not None
    assert (counter.marks.end, counter.marks.changes, counter.partials()) == (None, 0, ())


def test_change_mark_does_not_cut_a_line() -> None:
    counter, lines = reading([("stdout", f"ab{CHANGED}cd\n{CHANGED}ef\n")])
    assert lines == [(1, "stdout", "abcd"), (2, "stdout", "ef")]
    assert counter.marks is not None
    assert counter.marks.changes == 3


def test_unfinished_line_is_shown_until_its_newline() -> None:
    counter = LineCounter(LogMarks(TOKENS))
    assert counter.feed([("stdout", f"one\n{PARTIAL}name? \n")])[0].line == "one"
    (partial,) = counter.partials()
    assert (partial.n, partial.stream, partial.line, partial.partial) == (2, "stdout", "name? ", True)
    # A line of the other stream has that number now.
    counter.feed([("stderr", "two\n")])
    assert [line.n for line in counter.partials()] == [3]
    (line,) = counter.feed([("stdout", "name? bob\n")])
    assert (line.n, line.line, line.partial) == (3, "name? bob", False)
    assert counter.partials() == ()


texts = st.lists(st.sampled_from(["a", "é", "\n", "\r", "\x1b_", "\x1b\\", "xyz", CHANGED]), max_size=12).map("".join)
endings = st.sampled_from(["", END])


def cut_anywhere(pieces: list[Piece], data: st.DataObject | None) -> list[Piece]:
    cut: list[Piece] = []
    for stream, text in pieces:
        places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4))) if data else range(len(text))
        cut += [(stream, text[start:stop]) for start, stop in itertools.pairwise([0, *places, len(text)])]
    return cut


@given(st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), texts), max_size=6), endings, st.data())
@example([("stdout", "x" * 20)], END, None)
def test_any_cutting_of_a_log_with_marks_gives_the_same(
    pieces: list[Piece], end: str, data: st.DataObject | None
) -> None:
    whole: list[Piece] = [*pieces, ("stdout", end), ("stderr", end)]
    cut = cut_anywhere(whole, data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_follower, "LINE_BYTES", 7)
        assert reading(cut)[1] == reading(whole)[1]
        assert end_of(cut) == end_of(whole)
        assert all(TOKENS.end not in line and TOKENS.run not in line for _, _, line in reading(whole)[1])


@given(st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), texts), max_size=6), endings, st.data())
def test_the_marks_of_a_log_are_understood_without_its_lines(
    pieces: list[Piece], end: str, data: st.DataObject
) -> None:
    whole: list[Piece] = [*pieces, ("stdout", end), ("stderr", end)]
    cut = cut_anywhere(whole, data)
    read_until = data.draw(st.integers(0, len(cut)))
    counter = LineCounter(LogMarks(TOKENS))
    for piece in cut[:read_until]:
        counter.feed([piece])
    for piece in cut[read_until:]:
        counter.skip([piece])
    wanted, _ = reading(whole)
    assert counter.marks is not None
    assert wanted.marks is not None
    assert (counter.marks.end, counter.marks.changes) == (wanted.marks.end, wanted.marks.changes)
