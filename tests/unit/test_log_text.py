"""The end of a log as an agent gets it: within its budget, and with what was left out."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from taskhub.executions.executor import LogLine
from taskhub.mcp.log_text import BUDGET, log_text

AT = datetime(2026, 1, 1, tzinfo=UTC)


def lines(*texts: str, first: int = 1, partial: bool = False) -> list[LogLine]:
    made = [LogLine(n, "stdout", text, AT) for n, text in enumerate(texts, start=first)]
    return [*made[:-1], made[-1]._replace(partial=partial)] if made else []


def in_json(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode()) - 2


def test_all_of_a_short_log() -> None:
    assert log_text(lines("one", "two"), after=0) == ("one\ntwo\n", 2, 0)
    assert log_text([], after=0) == ("", 0, 0)


def test_only_what_is_new() -> None:
    log = lines("one", "two", "three")
    assert log_text(log, after=2) == ("three\n", 3, 0)
    assert log_text(log, after=3) == ("", 3, 0)
    assert log_text(log, after=9) == ("", 9, 0)  # a number that is not there yet
    assert log_text(log[1:], after=0) == ("two\nthree\n", 3, 1)


def test_an_unfinished_line_comes_again() -> None:
    first = log_text(lines("one", "tw", partial=True), after=0)
    assert first == ("one\ntw", 1, 0)
    assert log_text(lines("one", "two"), after=first.after) == ("two\n", 2, 0)


@pytest.mark.parametrize("text", ["x" * 100, '"\\' * 50, "ä" * 70, "\x1b[31m" * 20, ""])
def test_the_end_is_kept_within_the_budget(text: str) -> None:
    log = lines(*[text] * 10_000)
    found = log_text(log, after=0)
    assert BUDGET - in_json(f"{text}\n") < in_json(found.text) <= BUDGET
    assert found.after == 10_000
    assert found.text.count("\n") + found.left_out == 10_000
    assert log_text(log, after=9_999) == (f"{text}\n", 10_000, 0)


@pytest.mark.parametrize("character", ["x", '"', "ä", "\x01", "🙂"])
def test_of_a_line_that_is_too_long_the_end_is_kept(character: str) -> None:
    long = character * 100_000 + "the end"
    found = log_text(lines("one", long), after=0)
    assert found.text.startswith("[...] ")
    assert found.text.endswith("the end\n")
    assert BUDGET * 3 / 4 < in_json(found.text) <= BUDGET
    assert (found.after, found.left_out) == (2, 1)
