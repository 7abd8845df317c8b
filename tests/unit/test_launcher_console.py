"""What the launcher shows of itself and its children."""

from __future__ import annotations

import json

import pytest

from config.launcher.console import Console


def test_as_text_a_line_says_whose_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(as_json=False)
    console.say("web", "a line")
    console.announce("\nTaskHub is ready")
    assert capsys.readouterr().out == "      web | a line\n\nTaskHub is ready\n"


@pytest.mark.parametrize("text", ["a line", "", "[1]", "{half", '"text"', "1", "\udc80"])
def test_as_json_what_is_no_object_becomes_one(capsys: pytest.CaptureFixture[str], text: str) -> None:
    Console(as_json=True).say("redis", text)
    line = json.loads(capsys.readouterr().out)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"level": "info", "logger": "redis", "event": text}


def test_as_json_an_object_stays_as_it_is_and_words_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(as_json=True)
    console.say("web", '{"event": "a line"}')
    console.announce("\nTaskHub is ready\n  here\n")
    first, second = capsys.readouterr().out.splitlines()
    assert first == '{"event": "a line"}'
    assert (json.loads(second)["logger"], json.loads(second)["event"]) == ("launcher", "TaskHub is ready\n  here")
