"""The byte budget of answers: nothing is longer, the important part stays, and what was cut is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskhub.mcp.budget import ANSWER_BYTES, clip, fit, size_of

REST = "read_file has it."
TEXT = st.tuples(st.sampled_from(["a", "ü", "\0", '"\n', "日"]), st.sampled_from([0, 1, 40, 9000]))
MANY = st.tuples(TEXT, st.sampled_from([1, 50, 500]))
NAMES = st.sampled_from(["description", "log", "text", "a", "ü" * 100, *(f"{n}" for n in range(40))])
VALUES = st.recursive(
    st.none() | st.integers() | TEXT | MANY,
    lambda inside: st.lists(inside, max_size=5) | st.dictionaries(NAMES, inside, max_size=40),
    max_leaves=20,
)


def expanded(value: Any) -> Any:
    """The JSON value; hypothesis would print the long ones."""
    if isinstance(value, dict):
        return {name: expanded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [expanded(each) for each in value]
    if not isinstance(value, tuple):
        return value
    what, number = value
    return what * number if isinstance(what, str) else [expanded(what)] * number


def text_of(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_no_answer_is_longer_than_the_budget(spec: dict[str, Any]) -> None:
    body = expanded(spec)
    before = json.dumps(body)
    fitted = fit(body, rest=REST)
    assert len(text_of(fitted)) <= ANSWER_BYTES
    assert json.dumps(body) == before
    if len(text_of(body)) <= ANSWER_BYTES:
        assert fitted == body
    else:
        assert fitted["cut"]["rest"] == REST


def test_of_a_log_the_end_is_kept_and_lists_are_cut_before_it() -> None:
    log = "".join(f"{n} {'x' * 100}\n" for n in range(100))
    files = {f"{n:03}{'p' * 900}": n for n in range(100)}
    fitted = fit({"status": "failed", "log": log, "files": files, "log_error": None}, rest=REST)
    assert (fitted["status"], fitted["log"]) == ("failed", log)
    assert list(fitted["files"]) == list(files)[: len(fitted["files"])]
    assert fitted["cut"] == {"files": "was 100 entries", "rest": REST}
    longer = fit({"log": "x" * 3_000_000 + "the end"}, rest=REST)
    assert longer["log"].startswith("…x")
    assert longer["log"].endswith("xthe end")
    assert len(longer["log"]) > 14_000
    assert longer["cut"] == {"log": "was 3,000,007 bytes", "rest": REST}


def test_notes_are_cut_before_the_description() -> None:
    notes = [{"id": n, "text": "n" * 8000} for n in range(3)]
    fitted = fit({"task": {"title": "t", "description": "d" * 8000}, "notes": notes}, rest=REST)
    assert fitted["task"] == {"title": "t", "description": "d" * 8000}
    assert [note["text"][:3] for note in fitted["notes"]] == ["nnn"] * 3
    assert fitted["cut"] == {"text": "was 8,000 bytes", "rest": REST}


def test_of_a_description_that_is_too_long_the_beginning_is_kept() -> None:
    fitted = fit({"id": 1, "description": "ü" * 60_000, "notes": []}, rest=REST)
    assert fitted["description"] == "ü" * (len(fitted["description"]) - 1) + "…"
    assert len(fitted["description"].encode()) > 14_000
    assert fitted["cut"] == {"description": "was 120,000 bytes", "rest": REST}


def test_lists_lose_their_end() -> None:
    files = [{"path": f"{n} {'p' * 900}", "size": n} for n in range(100)]
    fitted = fit({"files": files}, rest=REST)
    assert fitted["files"]
    assert [each["size"] for each in fitted["files"]] == list(range(len(fitted["files"])))
    assert fitted["cut"]["files"] == "was 100 entries"


@pytest.mark.parametrize("letter", ["", "a", "ü", "\0", '"'], ids=ascii)
@pytest.mark.parametrize("most", [5, 64, 1000])
def test_a_text_is_clipped_to_bytes(letter: str, most: int) -> None:
    text = letter * 100
    clipped = clip(text, most)
    assert clipped == text or (clipped.endswith("…") and text.startswith(clipped[:-1]))
    assert size_of(clipped) <= most
